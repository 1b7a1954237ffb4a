"""What a notebook shows: asked of IPython's own formatter, as a cell does of its last value."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from PIL import Image
from torch import nn

from gradsculpt.drawing import Drawing
from gradsculpt.evaluation import Entry, Scorecard
from gradsculpt.inputs import InputSpace
from gradsculpt.metrics import gini
from gradsculpt.models import Classifier
from gradsculpt.notebook import table
from gradsculpt.training import TrainSettings
from gradsculpt.visualize import show

formatters = pytest.importorskip("IPython.core.formatters")

CARD = Scorecard("a <b> & $c", {}, {"gini": Entry("sparsity", gini.scores[0], 0.5, 0.4, 0.6, 8)})
CLASSIFIER = Classifier(
    nn.Sequential(nn.Flatten(), nn.Linear(12, 10)), InputSpace((0.5,) * 3, (0.25,) * 3), tuple("abcdefgh<j"), 2
)
SETTINGS = TrainSettings(out=Path("runs/<x>"), recipe="elastic-net", epochs=3)


def displayed(value: Any) -> dict[str, Any]:
    """Return what the formatter of a fresh IPython makes of a value, by MIME type."""
    shown: dict[str, Any] = formatters.DisplayFormatter().format(value)[0]
    return shown


@pytest.mark.parametrize("value", [CARD, CLASSIFIER, SETTINGS], ids=lambda value: type(value).__name__)
def test_scorecards_runs_and_settings_are_tables(value: Any) -> None:
    html = displayed(value)["text/html"]
    rows = ElementTree.fromstring(html).findall("./tbody/tr")  # well formed, whatever names are in it
    assert len(rows) >= 1
    texts = ["".join(cell.itertext()) for row in rows for cell in row]
    expected = {
        Scorecard: ["sparsity", "gini ↑", "0.500 [0.400, 0.600]", "8"],
        Classifier: ["Sequential, 130 parameters", "10: a, b, c, d, e, f, g, h, ..."],
        TrainSettings: ["epochs", "3", "by default 20", "runs/<x>"],
    }[type(value)]
    assert set(expected) <= set(texts)
    assert "text/plain" in displayed(value)


def test_a_warning_stands_over_the_table() -> None:
    blank = Entry("maps", gini.scores[0], 1.0, 1.0, 1.0, 8)
    assert "ALL 8 MAPS ARE ZERO EVERYWHERE" in displayed(Scorecard("x", {}, {"zero_map": blank}))["text/html"]


@pytest.mark.parametrize(
    "figure",
    [CARD.plot(), show(torch.rand(3, 8, 8), torch.rand(3, 8, 8)), Scorecard("nothing", {}, {}).plot(), Drawing()],
    ids=["scorecard", "maps", "empty", "bare"],
)
def test_figures_are_pictures_without_pyplot_or_magic(figure: Drawing) -> None:
    shown = displayed(figure)
    picture = Image.open(io.BytesIO(shown["image/png"]))
    assert min(picture.size) > 50
    assert "text/html" not in shown


def test_looking_leaves_pyplot_alone_and_costs_nothing_before() -> None:
    code = """
import sys, torch
import gradsculpt as gs
gs.evaluation, gs.visualize, gs.Scorecard
assert "matplotlib" not in sys.modules, "imported before anything is drawn"
gs.visualize.show(torch.rand(3, 4, 4))._repr_png_()
assert "matplotlib.pyplot" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_table_escapes_every_text() -> None:
    html = table("<t>", [("<a>", "&")], ("<h>", "b"), note="<n>")
    assert [each for each in ("<t>", "<a>", "<h>", "<n>", "&<") if each in html] == []
    assert ElementTree.fromstring(html).tag == "table"
