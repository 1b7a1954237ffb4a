"""The words of how alike two maps are, whatever lies between them."""

from collections.abc import Mapping

from gradsculpt.report.words import Words

_SCALE = "where 1 is the same and 0 no connection"
ALIKE: Mapping[str, tuple[str, str, str]] = {
    "topk_intersection": (
        "top pixels that stay",
        "top-k intersection",
        "{map} shares {value} of its strongest pixels with {other}",
    ),
    "topk_dice": (
        "top pixels in common",
        "top-k Dice",
        "{map} and {other} have {value} of their strongest pixels in common",
    ),
    "ssim": (
        "likeness as pictures",
        "SSIM",
        "{map} and {other} have a structural similarity of {value}, where 1 is the same picture",
    ),
    "cosine": (
        "strength at the same pixels",
        "cosine",
        "{map} and {other} have a cosine of {value}, where 1 is the same and 0 nothing in common",
    ),
    "pearson": (
        "connection of the pixels",
        "Pearson correlation",
        f"{{map}} and {{other}} have a correlation of {{value}}, {_SCALE}",
    ),
    "spearman": (
        "order of the pixels",
        "Spearman rank correlation",
        f"{{map}} and {{other}} have a rank correlation of {{value}}, {_SCALE}",
    ),
}
"""Of two maps: what it is called, the field's own name, and the sentence, in which {other} is the second."""


def likeness(name: str, when: str = "", other: str = "the one before") -> Words:
    """Return the words of the likeness of a map and of another, the one before something happened."""
    plain, term, says = ALIKE[name]
    return Words(
        f"{plain}{f', {when}' if when else ''} ({term})",
        # The map before and the one after are two, and neither is "this" one.
        f"{f'{when} ' if when else ''}{says.format(map='the map', other=other, value='{value}')}",
        unit="percent" if name.startswith("topk") else "",
        base=name,
    )
