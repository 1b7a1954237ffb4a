"""The public names: those of the package, and of each of its packages that it offers."""

from importlib import import_module
from types import ModuleType
from typing import Any

import gradsculpt


def _names(module: ModuleType) -> tuple[str, ...]:
    listed = getattr(module, "__all__", None) or [
        name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__
    ]
    return tuple(sorted(name for name in listed if not name.startswith("_")))


_OFFERED = [name for name in gradsculpt.__all__ if isinstance(getattr(gradsculpt, name), ModuleType)]

PACKAGES: dict[str, tuple[str, ...]] = {
    "gradsculpt": tuple(name for name in gradsculpt.__all__ if name not in _OFFERED),
    **{name: _names(import_module(f"gradsculpt.{name}")) for name in _OFFERED},
}
"""The public names of each package; those of the top level stand under gradsculpt."""


def homes() -> dict[str, str]:
    """Return the path of each package."""
    return {name: name if name == "gradsculpt" else f"gradsculpt.{name}" for name in PACKAGES}


def module(package: str) -> ModuleType:
    """Return a package by its name in `PACKAGES`."""
    return import_module(homes()[package])


def members(package: str) -> dict[str, Any]:
    """Return what is public in a package, by name."""
    return {name: getattr(module(package), name) for name in PACKAGES[package]}
