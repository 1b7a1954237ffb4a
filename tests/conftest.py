"""Settings that every test shares."""

import pytest
import torch
from hypothesis import HealthCheck, settings

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


@pytest.fixture(autouse=True)
def _numbers_as_they_are() -> None:
    """Commands let the processor take subnormal numbers for 0; a test that ran one must not change those after it."""
    torch.set_flush_denormal(False)
