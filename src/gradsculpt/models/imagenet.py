"""ImageNet's 1000 classes by their WordNet numbers and all their names."""

from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

_TABLE = Path(__file__).with_name("imagenet.tsv")


@cache
def wordnet() -> Mapping[str, tuple[str, ...]]:
    """Return the names of each class by its WordNet number, in the usual order of a network's 1000 outputs.

    Source: Russakovsky et al., IJCV 2015 (ILSVRC 2012), for the classes; WordNet 3.0 for the names.

    Example:
        >>> wordnet()["n02123045"], list(wordnet()).index("n02123045")
        (('tabby', 'tabby cat'), 281)
    """
    rows = (line.split("\t") for line in _TABLE.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    return MappingProxyType({number: tuple(names.split(", ")) for number, names in rows})


def in_words(name: str) -> str:
    """Return what a class is called for people: the first name of a WordNet number of ImageNet's, else the name.

    The few names that two of the 1000 classes share are followed by the number.

    Example:
        >>> in_words("n02102040"), in_words("n03126707"), in_words("cat")
        ('English springer', 'crane (n03126707)', 'cat')
    """
    number = name.strip().casefold()
    if number not in wordnet():
        return name
    word = wordnet()[number][0]
    return f"{word} ({number})" if word in _shared() else word


@cache
def _shared() -> frozenset[str]:
    counts = Counter(names[0] for names in wordnet().values())
    return frozenset(name for name, count in counts.items() if count > 1)
