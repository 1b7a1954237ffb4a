"""Settings that every test shares."""

import os
from collections.abc import Iterator

import pytest
import torch
from hypothesis import HealthCheck, settings

from gradsculpt.extensions import trusted

# The same examples on every run and machine; nothing is written to disk.
settings.register_profile(
    "gradsculpt",
    max_examples=20,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("gradsculpt")

# Tests work on tiny tensors, and pytest-xdist already uses every core.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # for commands, which choose for themselves


@pytest.fixture
def trusts_tests() -> Iterator[None]:
    """Let code of the tests be named by texts and files, as if it had been typed."""
    with trusted(["tests"]):
        yield


@pytest.fixture(autouse=True)
def _as_if_alone() -> None:
    """Start each test alike, whatever ran before it.

    Commands let the processor take subnormal numbers for 0, and networks without a seed of their own are drawn from the
    random state.
    """
    torch.set_flush_denormal(False)
    torch.manual_seed(0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("cuda"):
                item.add_marker(pytest.mark.skip(reason="needs a GPU"))
