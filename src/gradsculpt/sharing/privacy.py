"""What is shared tells nothing of the machine that it comes from: of each path, its last part alone."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradsculpt.hub import is_hub

_PART = r"[^\s\\/'\"`<>|:;,()\[\]{}]+"
_PATH = re.compile(rf"(?<![\w.~/\\-])(?:~[\w.-]*(?:[\\/]{_PART})+|(?:[A-Za-z]:)?(?:[\\/](?![\\/]){_PART}){{2,}})[\\/]?")
_NAMELESS = ("", ".", "..", "~")
_LEFT_OUT = "left_out"


def last_part(path: str) -> str:
    r"""Return the last part of a path of any system; "images" if it has none.

    Example:
        >>> last_part("/home/me/photos/"), last_part("C:\\pictures"), last_part("..")
        ('photos', 'pictures', 'images')
    """
    name = re.split(r"[\\/]", path.rstrip("\\/"))[-1]
    return "images" if name in _NAMELESS else name


def shared_data(name: str) -> str:
    """Return the name of data without the place where they lie.

    Example:
        >>> shared_data("folder:/home/me/photos"), shared_data("cells")
        ('folder:photos', 'cells')
    """
    kind, colon, place = name.partition(":")
    return f"{kind}:{last_part(place)}" if colon and kind == "folder" else name


class Veil:
    """Takes the places of a machine out of texts.

    Args:
        run: The run directory.
        config: What it was trained with, as its file has it.

    Example:
        >>> Veil(Path("runs/en"), {"data": "folder:/home/me/my photos"}).over({"data": "folder:/home/me/my photos"})
        {'data': 'folder:my photos'}
    """

    def __init__(self, run: Path, config: Mapping[str, Any]) -> None:
        kind, _, place = str(config.get("data", "")).partition(":")
        places = [place] if kind == "folder" else []
        weights = config.get("weights")
        if isinstance(weights, str) and not is_hub(weights):
            places.append(weights)
        places += [str(run), str(run.absolute()), str(run.resolve()), str(Path.cwd()), str(Path.home())]
        # The longest first, as one may lie in another; a name alone says nothing of where it is.
        long = sorted({each for each in places if re.search(r"[\\/].", each)}, key=len, reverse=True)
        self._places = {each: last_part(each) for each in long}

    def text(self, text: str) -> str:
        """Return a text without paths."""
        for place, name in self._places.items():
            text = text.replace(place, name)
        return _PATH.sub(lambda found: last_part(found[0]), text)

    def over(self, value: Any) -> Any:
        """Return plain data without paths in their texts; names of images that were left out are left out too."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            kept = {key: each for key, each in value.items() if key != _LEFT_OUT or isinstance(each, Mapping)}
            return {key: self.over(each) for key, each in kept.items()}
        return [self.over(each) for each in value] if isinstance(value, list | tuple) else value
