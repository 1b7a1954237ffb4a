"""Names from outside as text that can be printed, written and read again anywhere."""

import unicodedata
from collections.abc import Iterable

# Controls, halves of characters, line ends, and marks that turn the direction of what follows.
_HIDDEN = {"Cc", "Cs", "Zl", "Zp"}
_TURNS = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


_WORD, _LINE = 400, 2000
"""Letters of a word, and of a message, beyond which nobody reads them."""


def printable(text: str) -> str:
    r"""Return a text in one line of valid Unicode: what cannot be shown stands as its escape.

    Bytes that are not UTF-8 (a file's name may hold some) become the bytes' escapes. Applied again, it changes nothing.

    Example:
        >>> printable("two\nlines, caf\udce9 and [/b]")
        'two\\nlines, caf\\xe9 and [/b]'
    """
    if text.isprintable():
        return text
    return "".join(_escaped(letter) for letter in text)


def one_line(text: str) -> str:
    r"""Return a message in one line that can be shown, of which what is very long is shortened in its middle.

    Example:
        >>> one_line("no\nrecipe " + "a" * 1000).replace("a" * 160, "A").replace("a" * 60, "B")
        'no recipe A…B'
    """
    words = printable(" ".join(text.split())).split(" ")
    line = " ".join(word if len(word) <= _WORD else f"{word[:160]}…{word[-60:]}" for word in words)
    return line if len(line) <= _LINE else f"{line[: _LINE // 2]} … {line[-_LINE // 4 :]}"


def counted(count: int | str, things: str) -> str:
    """Return a number, or a span of some, with the word for what is counted, a plural, in the form that it wants.

    Example:
        >>> counted(1, "images"), counted(0, "training images"), counted(1, "classes"), counted(1, "other pictures")
        ('1 image', '0 training images', '1 class', '1 other picture')
    """
    one = str(count) == "1"
    return f"{count} {_singular(things) if one else things}"


def _singular(things: str) -> str:
    for plural, single in (("sses", "ss"), ("xes", "x"), ("ches", "ch"), ("ies", "y"), ("s", "")):
        if things.endswith(plural):
            return things.removesuffix(plural) + single
    return things


def size_of(count: float) -> str:
    """Return a number of bytes in a unit that suits it.

    Example:
        >>> size_of(3_400_000_000), size_of(12_000_000), size_of(2.5e12)
        ('3.4 GB', '12 MB', '2.5 TB')
    """
    unit, name = next((unit for unit in ((1e12, "TB"), (1e9, "GB")) if count >= unit[0]), (1e6, "MB"))
    return f"{count / unit:.{1 if count < 10 * unit else 0}f} {name}"


def alike(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return the pairs of names that look the same in print, or are the same.

    Example:
        >>> alike(["a", "b", "a"])
        [('a', 'a')]
    """
    shown, pairs = dict[str, str](), list[tuple[str, str]]()
    for name in names:
        known = shown.get(printable(name))
        if known is None:
            shown[printable(name)] = name
        else:
            pairs.append((known, name))
    return pairs


def _escaped(letter: str) -> str:
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # how Python carries a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if unicodedata.category(letter) in _HIDDEN or letter in _TURNS:
        return _SHORT.get(letter) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
    return letter
