"""What a tab shows when it is called as a browser calls it."""

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any


def merged(updates: Iterable[dict[Any, Any]]) -> dict[Any, Any]:
    """Return what the components show in the end."""
    shown: dict[Any, Any] = {}
    for update in updates:
        shown |= update
    return shown


def click(index: Any) -> Any:
    """Return the event of a picture of a gallery that is picked."""
    return SimpleNamespace(index=index)
