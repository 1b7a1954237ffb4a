"""Names from anybody in Markdown and YAML: they are text there, whatever they hold."""

import re
from typing import Any

import yaml

from gradsculpt.wording import printable

_MARKS = re.compile(r"([\\`*_\[\]<>|~&$#!{}@])")
_LINKED = re.compile(r"(?i)\b(https?|ftp|mailto|www)([:.])")
_NAME, _TEXT = 200, 2000  # letters of a name, and of a sentence or several


class Ready(str):
    """A text that is Markdown already."""

    __slots__ = ()


def escaped(value: Any) -> str:
    r"""Return a value as text on one line that Markdown shows as it is: no emphasis, link, picture, table or HTML.

    Example:
        >>> print(escaped("[a](b) *c* <img> www.d.e"))
        \[a\](b) \*c\* \<img\> www\.d.e
    """
    if isinstance(value, Ready):
        return value
    text = _MARKS.sub(r"\\\1", _short(printable(str(value)), _TEXT))
    return _LINKED.sub(r"\1\\\2", text)


def code(value: Any) -> Ready:
    """Return a value as a piece of code, in which Markdown sees nothing.

    Example:
        >>> print(code("a`b"))
        `` a`b ``
    """
    text = _short(printable(str(value)), _NAME) or " "
    longest = max(map(len, re.findall("`+", text)), default=0)
    mark, gap = "`" * (longest + 1), " " if longest or text != text.strip() else ""
    return Ready(f"{mark}{gap}{text}{gap}{mark}")


def block(content: Any) -> Ready:
    """Return plain data as a block of YAML."""
    text = as_yaml(content)
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return Ready(f"{fence}yaml\n{text}{fence}")


def as_yaml(content: Any) -> str:
    """Return plain data as YAML, its texts as far as they can be shown."""
    return str(yaml.safe_dump(_shown(content), sort_keys=False, allow_unicode=True, width=1000))


def _shown(content: Any) -> Any:
    if isinstance(content, str):
        return printable(content)
    if isinstance(content, dict):
        return {_shown(key): _shown(each) for key, each in content.items()}
    return [_shown(each) for each in content] if isinstance(content, list | tuple) else content


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
