"""The file of a study: what is merged at a scale, and what is refused before anything is run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gradsculpt.errors import ArgumentError
from gradsculpt.studies import study as studies
from gradsculpt.studies.schema import SCALES

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
        ({"source": ""}, "a text in one line"),
        ({"source": None}, "a text in one line"),
        ({"title": "two\nlines"}, "a text in one line"),
        ({"networks": ["a"]}, "write a mapping"),
        ({"networks": {"plain": 3}}, "networks.plain is 3"),
        ({"networks": {1: {}}}, "has the name 1"),
        ({"networks": {"plain": {"recipe": 3}}}, "networks.plain.recipe is 3"),
        ({"train": {"lr": float("nan")}}, "no finite number"),
        ({"seeds": [1, 1]}, "each once"),
        ({"seeds": [2**32]}, "each once"),
        ({"only": ["plain", "plain"]}, "twice"),
        ({"rows": {"two\nlines": {"network": "plain"}}}, "in one line"),
        ({"rows": {"plain": {"network": "plain", "scores": [1]}}}, "rows.plain.scores is [1]"),
        ({"measure": {"network": {"evaluate": {}}}}, "a meaning of its own"),
        ({"measure": {"a.b": {"evaluate": {}}}}, "a meaning of its own"),
        ({"measure": {"scores": {"evaluate": {}, "of": []}}}, "leave it away for all"),
        ({"measure": {"scores": {"evaluate": [1]}}}, "measure.scores.evaluate is [1]"),
        ({"table": {"Gini": {"score": "scores.gini", "scale": 0}}}, "other than 0"),
        ({"table": {"Gini": {"score": "scores.gini", "published": {"plain": [1]}}}}, "published.plain is [1]"),
        ({"claims": ["text"]}, "write a mapping"),
        ({"claims": [{"says": "so", "score": "scores.gini"}]}, "nothing that can be tested"),
        ({"claims": [{"says": "so", "score": "gini", "above": "plain"}]}, "MEASURE.SCORE"),
        ({"claims": [{"says": "so", "score": "score.gini", "above": "plain"}]}, "Did you mean scores?"),
        ({"claims": [{"says": "so", "score": "scores.gini", "above": "plian"}]}, "Did you mean plain?"),
        ({"claims": [{"says": "so", "score": "scores.gini", "above": "plain", "rows": []}]}, "a list of rows"),
        ({"claims": [{"says": "so", "score": "scores.gini", "above": "plain", "rows": ["plain"]}]}, "with itself"),
        ({"claims": [{"says": "so", "score": "scores.gini", "above": "plain", "of": "smooth"}]}, "no part of such"),
        ({"claims": [{"says": "so", "score": "scores.gini", "within": "x", "of": "plain"}]}, "within is 'x'"),
        ({"claims": [{"says": "so", "score": "scores.gini", "within": 1}]}, "`of: ROW`"),
        ({"claims": [{"says": "so", "score": "scores.gini", "least": 1}]}, "write one"),
        ({"claims": [{"says": "so", "score": "scores.gini", "rising": ["plain"]}]}, "two rows"),
        ({"figures": {"../f": {"bars": {"scores": ["scores.gini"]}}}}, "a file's name"),
        ({"figures": {"f": {"bars": [1]}}}, "figures.f.bars is [1]"),
        ({"departs": {"smok": ["x"]}}, "Did you mean smoke?"),
        ({"departs": {"all": [{"note": "x"}]}}, "where a colon stands"),
        ({"remarks": {"cpu": 3}}, "a text"),
        ({"scales": {"smoke": {1: 2}}}, "has the name 1"),
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


ODD: list[Any] = [None, float("nan"), "", [], [{}], {1: 2}, {"a": {"b": [1]}}]
FULL = {
    **WHOLE,
    "seeds": [0, 1],
    "question": "why",
    "only": ["plain", "smooth"],
    "departs": {"all": ["x"]},
    "remarks": {"cpu": "x"},
    "figures": {"f": {"bars": {"scores": ["scores.gini"], "rows": ["plain"]}}},
    "claims": [
        {"says": "a", "score": "scores.gini", "above": "plain"},
        {"says": "b", "score": "scores.gini", "best": "plain", "rows": ["smooth"]}
        | {"among": {"score": "scores.gini", "within": 0.1, "of": "plain"}},
        {"says": "c", "score": "scores.gini", "within": 1, "of": "plain", "rows": ["smooth"]},
        {"says": "d", "score": "scores.gini", "least": 1, "row": "plain"},
        {"says": "e", "score": "scores.gini", "rising": ["plain", "smooth"]},
    ],
}


def test_whatever_stands_anywhere_is_taken_or_refused_in_a_line(tmp_path: Path) -> None:
    """Each odd value in each place: a study all of whose parts can be read, or one error in words."""
    for keys in _places(FULL):
        for odd in ODD:
            path = tmp_path / "trial.yaml"
            path.write_text(yaml.dump(_changed(FULL, keys, odd), Dumper=yaml.CSafeDumper), encoding="utf-8")
            try:
                study = studies.read(str(path), "smoke")
                for part in ("networks", "measures", "rows", "run_rows", "columns", "claims", "departures"):
                    getattr(study, part)
            except ArgumentError as error:
                told = str(error)
            else:
                told = ""
            assert "\n" not in told, (keys, odd)


def _places(content: object) -> Iterator[tuple[str | int, ...]]:
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in pairs:
        yield (key,)
        yield from ((key, *rest) for rest in _places(value))


def _changed(content: Any, keys: tuple[str | int, ...], value: object) -> Any:
    first, *rest = keys
    copied = content.copy()
    copied[first] = _changed(content[first], tuple(rest), value) if rest else value
    return copied


def test_a_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    """As one of the two would be ignored; an alias that is used twice is no such thing."""
    path = tmp_path / "twice.yaml"
    path.write_text("title: a\nsource: b\nnetworks:\n  n: {lr: 1}\n  n: {lr: 2}\n", encoding="utf-8")
    with pytest.raises(ArgumentError, match="line 5: n stands here again"):
        studies.read(str(path))
    path.write_text("title: a\nsource: b\nnetworks: {n: &x {lr: 1}, m: *x}\n", encoding="utf-8")
    assert studies.read(str(path)).networks["m"] == {"lr": 1}


@pytest.mark.parametrize("text", ["a: [", "- a", "a: &x [*x]", "", "train: &x {a: *x}"])
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
        for scale in SCALES:
            assert studies.read(name, scale).title
