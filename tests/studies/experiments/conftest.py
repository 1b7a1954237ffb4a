from pathlib import Path

import pytest

from tests.studies.experiments.trained import train


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return three trainings of one network, of which the first two swap 40 images, by seed."""
    folder = tmp_path_factory.mktemp("runs")
    swaps = {"0": ("--swap", "40"), "1": ("--swap", "40"), "2": ()}
    return {seed: train(folder / seed, "--seed", seed, *words) for seed, words in swaps.items()}
