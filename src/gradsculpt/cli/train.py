"""`gradsculpt train`."""

from collections.abc import Sequence

from gradsculpt.cli import console
from gradsculpt.cli.process import prepare
from gradsculpt.cli.settings import read_settings
from gradsculpt.training import fit


def run(words: Sequence[str]) -> None:
    """Train a classifier and leave a run directory."""
    prepare()
    settings, reporter = read_settings(words), console.reporter()
    fit(settings, reporter)
    reporter.say(f"The run is in {settings.out}. Next: gradsculpt evaluate {settings.out}")
