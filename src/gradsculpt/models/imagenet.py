"""ImageNet's 1000 classes by their WordNet numbers and all their names."""

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
