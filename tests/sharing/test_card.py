"""The card says what was measured, with intervals, and what was not; the Hub's own library reads its header."""

import math
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml

from gradsculpt.evaluation import SCORE_GROUPS, Entry
from gradsculpt.metrics import Score
from gradsculpt.sharing import bundle
from tests.sharing.small import make_run, score
from tests.sharing.test_markdown import NASTY

ACCURACY = Score("accuracy", 0.0, 1.0, "higher", "fraction", "How many images are classified as they should be.")


def card_of(run: Path, **given: Any) -> str:
    return bundle(run, "me/some_net", **given).files["README.md"].decode()


def header_of(card: str) -> dict[str, Any]:
    _, text, _ = card.split("---\n", 2)
    return dict(yaml.safe_load(text))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run", data="cifar10")


def test_the_header_is_what_the_hub_reads(run: Path) -> None:
    from huggingface_hub import ModelCard

    score(run, {"data": "cifar10"}, {"accuracy": Entry("accuracy", ACCURACY, 0.91, 0.88, 0.94, 32)})
    text = card_of(run, license="apache-2.0")
    header = header_of(text)
    assert header["library_name"] == "gradsculpt"
    assert header["pipeline_tag"] == "image-classification"
    assert (header["license"], header["datasets"]) == ("apache-2.0", ["uoft-cs/cifar10"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data: Any = ModelCard(text).data
    results = {each.metric_type: each.metric_value for each in data.eval_results or ()}
    assert results == {"gini": 0.5, "accuracy": 0.91}
    assert {each.dataset_split for each in data.eval_results or ()} == {"test"}


def test_scores_stand_with_interval_direction_and_unit(run: Path) -> None:
    speed = Score("local_lipschitz", 0.0, math.inf, "lower", "per unit", "How fast the map changes near the image.")
    more = {"local_lipschitz": Entry("robustness-random", speed, 3.25, 3.0, 3.5, 32)}
    score(run, None, {"accuracy": Entry("accuracy", ACCURACY, 0.91, 0.88, 0.94, 32), **more})
    text = card_of(run)
    rows = [line for line in text.splitlines() if line.startswith("| ") and "[" in line]
    assert len(rows) == 3
    accuracy = next(row for row in rows if row.startswith("| accuracy"))
    assert accuracy.split(" | ")[1:4] == ["91.0%", r"\[88.0, 94.0\]", "higher"]
    fast = next(row for row in rows if "per unit" in row)
    assert "3.25" in fast
    assert "| lower |" in fast
    assert all(row.count(" | ") == 6 for row in rows)
    assert "32 images" in text
    missing = [cls.label for cls in SCORE_GROUPS if cls.short_name() == "fidelity"]
    assert re.search(f"Not measured: .*{re.escape(missing[0])}", text)


def test_a_score_that_is_no_number_is_no_result(run: Path) -> None:
    score(run, None, {"accuracy": Entry("accuracy", ACCURACY, math.nan, math.nan, math.nan, 32)})
    text = card_of(run)
    header = header_of(text)
    (result,) = header["model-index"][0]["results"]
    assert [each["type"] for each in result["metrics"]] == ["gini"]
    assert "metrics" not in header
    assert "| accuracy | nan" in text


def test_without_scores_it_says_so(run: Path) -> None:
    text = card_of(run)
    assert "**Not measured**: there is no scorecard" in text
    assert "metrics" not in header_of(text)
    assert "| score |" not in text
    assert "No maps are shown" in text
    assert "None is named" in text


def test_the_lines_that_say_how_to_use_it_run(run: Path) -> None:
    from tests.docs.blocks import read

    text = card_of(run)
    lines = [line.split() for line in text.splitlines() if line.startswith("gradsculpt ")]
    assert len(lines) == 2
    for words in lines:
        read(words[1:])
        assert "hf:me/some_net" in words
    compile(re.findall("```python\n(.*?)```", text, re.DOTALL)[0], "card", "exec")


def test_a_network_of_ones_own_code_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    run = make_run(tmp_path / "run")
    (tmp_path / "mynets.py").write_text(
        "from gradsculpt.models import LeNet\ndef small(num_classes):\n    return LeNet(num_classes, 16)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    description = json.loads((run / "model.json").read_text())
    del description["checksum"]
    description["build"]["model"] = "python:mynets:small"
    (run / "model.json").write_text(json.dumps(description))
    text = card_of(run, trust_code=["mynets"])
    assert "--out maps --trust-code mynets" in text
    assert 'trust_code=["mynets"]' in text


@pytest.mark.parametrize("name", [name for name in NASTY if name and len(name) < 200])
def test_names_of_classes_and_folders_are_text(name: str, tmp_path: Path) -> None:
    known = name.encode("utf-8", "ignore").decode()  # as a file of settings holds it
    run = make_run(tmp_path / "run", classes=(name, "other"), data=f"folder:{known}", recipe=known)
    score(run, {"data": f"folder:{name}", "notes": [f"Of {name}."]})
    text = card_of(run)
    header = header_of(text)
    assert header["library_name"] == "gradsculpt"
    assert set(header) <= {"library_name", "pipeline_tag", "tags", "metrics", "model-index"}
    outside = re.sub(r"(`+)[^`].*?(?<!`)\1(?!`)", "", text.split("---\n", 2)[2], flags=re.DOTALL)
    outside = re.sub(r"\\[^\w\s]", "", outside)
    for mark in ("<script", "](javascript", "![x]", "https://evil", "www.evil", "{% raw", "49", "# title\n"):
        if mark != "49" or "7 * 7" in name:
            assert mark not in outside, outside
    assert text.count("\n## ") == 6
