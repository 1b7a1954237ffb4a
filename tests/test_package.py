"""The public face: every promised name is there, and importing the package costs nothing."""

import subprocess
import sys

import pytest

import gradsculpt as gs


@pytest.mark.parametrize("name", gs.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(gs, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'sculpt'"):
        _ = gs.sculpt


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, gradsculpt; print([name for name in ('torch', 'numpy', 'lightning') if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"
