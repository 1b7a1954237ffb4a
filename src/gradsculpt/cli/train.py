"""`gradsculpt train`."""

import time
from collections.abc import Sequence

from gradsculpt.cli.process import prepare
from gradsculpt.cli.settings import read_settings, unused_places
from gradsculpt.progress import Reporter
from gradsculpt.runs import CONFIG


def run(words: Sequence[str], reporter: Reporter) -> None:
    """Train a classifier and leave a run directory."""
    started = time.monotonic()
    settings = read_settings(words, new=True)
    from gradsculpt.training import fit

    prepare()
    if settings.resume and (settings.out / CONFIG).is_file():
        reporter.say(*unused_places(settings.out, vars(settings)))
    fit(settings, reporter, started=started)
    reporter.say(f"The run is in {settings.out}. Next: gradsculpt evaluate {settings.out}")
