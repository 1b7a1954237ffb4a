"""What the page says of anything that went wrong: a sentence, without paths and without a trace."""

import logging
import re
import secrets
from pathlib import Path

import torch

from gradsculpt.errors import GradsculptError
from gradsculpt.viewer.work import Cancelled, TooLong
from gradsculpt.wording import printable

LOG = logging.getLogger("gradsculpt.viewer")

_CANCELLED = "Cancelled."
_MEMORY = "This needs more memory than there is; choose a smaller network, or fewer maps at once."
_ABSOLUTE = re.compile(
    r"(?<![\w.~/\\<])(?:file://|~?/(?!/)|[A-Za-z]:[\\/]|\\\\)[^\s'\",;:!?()<>|*]+(?: [^\s'\"/]*/[^\s'\",;:()]*)*"
)
_PREFIXED = re.compile(r"(?<=folder:)[^\s'\",;()]+")
_RELATIVE = re.compile(r"(?<![\w./~-])[\w.~-]+(?:[/\\][\w.~=@+-]+)+")


def sentence(error: BaseException) -> str:
    """Return what the page says of an exception: never a stack trace, never the path of a file.

    Of an error of the package its own text, in which paths are reduced to the names of their files. Of any other, a
    fixed sentence with a number under which the server's log has it all.

    Example:
        >>> from gradsculpt.errors import DataError
        >>> sentence(DataError("/tmp/uploads/cat.jpg is empty (0 bytes); replace or remove it."))
        'Cat.jpg is empty (0 bytes); replace or remove it.'
    """
    if isinstance(error, Cancelled):
        return _CANCELLED
    if isinstance(error, (GradsculptError, TooLong)):
        text = without_paths(printable(" ".join(str(error).split())))
        return text[:1].upper() + text[1:]
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        LOG.warning("out of memory: %s", error)
        return _MEMORY
    number = secrets.token_hex(4)
    LOG.error("error %s", number, exc_info=error)
    return f"Something went wrong that should not; the server's log tells more under the number {number}."


def without_paths(text: str) -> str:
    """Return a text in which only the last part of every path is left.

    Absolute paths are told by their form; relative ones, which may be fractions too, by whether they exist.

    Example:
        >>> without_paths("there is no run directory /srv/runs/en; eps=4/255, JPEG/PNG")
        'there is no run directory en; eps=4/255, JPEG/PNG'
    """
    for known in dict.fromkeys(map(str, (Path.cwd(), Path.home()))):
        if len(known) > 1:
            text = text.replace(f"{known}/", "")
    text = _ABSOLUTE.sub(lambda found: _last(found[0]), text)
    text = _PREFIXED.sub(lambda found: _last(found[0]), text)
    return _RELATIVE.sub(lambda found: _last(found[0]) if _is_there(found[0]) else found[0], text)


def _last(path: str) -> str:
    ending = re.search(r"[.]*$", path)
    stop = ending[0] if ending else ""
    return re.split(r"[/\\]", path.rstrip("./\\"))[-1] + stop


def _is_there(path: str) -> bool:
    try:
        return Path(path.rstrip(".")).exists() or Path(path).parent.is_dir()
    except OSError:
        return False
