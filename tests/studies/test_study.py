"""The file of a study: what is merged at a scale, and what is refused before anything is run."""

from pathlib import Path

import pytest
import yaml

from gradsculpt.errors import ArgumentError
from gradsculpt.studies import study as studies

WHOLE = {
    "title": "A trial",
    "source": "nobody",
    "train": {"data": "cells", "epochs": 9, "recipe": "advgrad-cells"},
    "networks": {"plain": {"recipe": "standard"}, "sparse": {"recipe": "l1", "epochs": 3}},
    "measure": {"scores": {"evaluate": {"groups": ["sparsity"], "limit": 100}}},
    "rows": {"plain": {"network": "plain"}, "smooth": {"network": "plain", "scores": {"method": "smoothgrad"}}},
    "table": {"Gini": {"score": "scores.gini", "published": {"plain": 1.5}}},
    "scales": {"smoke": {"train": {"epochs": 1, "recipe": None}, "measure": {"scores": {"evaluate": {"limit": 4}}}}},
}


def write(folder: Path, **changed: object) -> str:
    path = folder / "trial.yaml"
    path.write_text(yaml.safe_dump({**WHOLE, **changed}), encoding="utf-8")
    return str(path)


def test_a_scale_changes_what_it_says_and_nothing_else(tmp_path: Path) -> None:
    """Recipes are joined, the network's own first; a network's own setting comes over that of a scale."""
    paper, smoke = (studies.read(write(tmp_path), scale) for scale in ("paper", "smoke"))
    assert paper.networks["plain"] == {"data": "cells", "epochs": 9, "recipe": "standard+advgrad-cells"}
    assert smoke.networks["plain"] == {"data": "cells", "epochs": 1, "recipe": "standard"}
    assert smoke.networks["sparse"] == {"data": "cells", "epochs": 3, "recipe": "l1"}
    assert paper.measures["scores"].settings == {"groups": ["sparsity"], "limit": 100}
    assert smoke.measures["scores"].settings == {"groups": ["sparsity"], "limit": 4}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"tabel": {}}, "Did you mean table?"),
        ({"title": None}, "title"),
        ({"source": ""}, "has no source"),
        ({"networks": ["a"]}, "write a mapping"),
        ({"seeds": [-1]}, "write whole numbers"),
        ({"seeds": []}, "write whole numbers"),
        ({"only": ["smoth"]}, "Did you mean smooth?"),
        ({"rows": {"plain": {"network": "plian"}}}, "Did you mean plain?"),
        ({"rows": {"plain": {"network": "plain", "scroes": {}}}}, "Did you mean scores?"),
        ({"table": {"Gini": {"score": "gini"}}}, "MEASURE.SCORE"),
        ({"table": {"Gini": {"score": "score.gini"}}}, "Did you mean scores?"),
        ({"table": {"Gini": {"score": "scores.gini", "published": {"plane": 1}}}}, "Did you mean plain?"),
        ({"measure": {"scores": {"evaluate": {}, "features": {}}}}, "one command or experiment"),
        ({"measure": {"scores": {"evaluate": {}, "of": ["spars"]}}}, "Did you mean sparse?"),
        ({"figures": {"f": {"bars": {"scores": ["scores.gini"], "rows": ["smoth"]}}}}, "Did you mean smooth?"),
        ({"figures": {"f": {"gallery": {"measure": "scores", "networks": ["plian"]}}}}, "Did you mean plain?"),
        ({"scales": {"tiny": {}}}, "the scales are"),
        ({"scales": [1]}, "is no mapping"),
    ],
)
def test_what_a_file_gets_wrong_is_told_in_a_line(tmp_path: Path, changed: dict[str, object], told: str) -> None:
    """Before anything is run, with the name that was likely meant."""
    with pytest.raises(ArgumentError) as caught:
        studies.read(write(tmp_path, **changed))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["a: [", "- a", "a: &x [*x]", ""])
def test_what_is_no_study_is_refused(tmp_path: Path, text: str) -> None:
    """No YAML, no mapping, one that holds itself, and nothing at all."""
    path = tmp_path / "odd.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ArgumentError):
        studies.read(str(path))


def test_an_unknown_study_or_scale_is_refused() -> None:
    """With what there is."""
    with pytest.raises(ArgumentError, match="gradsculpt study list"):
        studies.read("no-such")
    with pytest.raises(ArgumentError, match="smoke, cpu, gpu, paper"):
        studies.read("no-such", "huge")


def test_every_shipped_study_can_be_read_at_every_scale() -> None:
    """Whatever a scale changes."""
    assert studies.names()
    for name in studies.names():
        for scale in studies.SCALES:
            assert studies.read(name, scale).title
