"""The reference of the commands: the help of each, as the command prints it."""

import importlib
import os
from pathlib import Path
from unittest import mock

from gradsculpt.cli.main import COMMANDS, _overview
from gradsculpt.cli.parser import DESCRIBE, Described
from gradsculpt.cli.screen import page


def pages(folder: Path) -> dict[str, str]:
    """Return the page of each command, and the one that lists them."""
    made = {f"commands/{name}.md": _page(name) for name in COMMANDS}
    rows = "\n".join(f"- [{name}](commands/{name}.md): {command.summary}" for name, command in COMMANDS.items())
    toctree = "\n".join(f"commands/{name}" for name in COMMANDS)
    made["commands.md"] = (
        "# Commands\n\nAfter this page you know which command does what, and have each option of it.\n\n"
        f"```text\n{_overview()}```\n\n{rows}\n\n```{{toctree}}\n:hidden:\n\n{toctree}\n```\n"
    )
    return made


def _page(name: str) -> str:
    return f"# gradsculpt {name}\n\n{COMMANDS[name].summary.capitalize()}.\n\n```text\n{_help(name)}```\n"


def _help(name: str) -> str:
    """Return the whole help of a command, at the width that it has at most."""
    try:
        importlib.import_module(COMMANDS[name].module).run([DESCRIBE], None)
    except Described as described:
        with mock.patch.dict(os.environ, {"COLUMNS": "100"}):
            return page(described.parser, everything=True)
    raise AssertionError(f"gradsculpt {name} does not describe its options")
