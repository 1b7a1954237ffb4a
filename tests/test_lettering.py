"""Names of classes in any script are drawn without a word on standard error."""

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from gradsculpt import lettering
from gradsculpt.drawing import Drawing
from gradsculpt.evaluation import Curve, Entry, Scorecard
from gradsculpt.lettering import MISSING, fallbacks, save
from gradsculpt.metrics import gini
from gradsculpt.visualize import contact_sheet, show

SCRIPTS = [
    "猫",
    "고양이",
    "ねこ",
    "قطة",
    "חתול",
    "кошка",
    "γάτα",
    "แมว",
    "बिल्ली",
    "😀🐈",
    "\U0001d518",
    "café",
    "a\u0301",
    "👨‍👩‍👧",
]


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_name_in_any_script_is_drawn_in_silence(name: str) -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sheet = contact_sheet([[picture]], [name], [name], captions=[[name]], note=name)
    assert sheet.startswith(b"\x89PNG")


def test_ticks_are_drawn_in_silence_too() -> None:
    figure = Figure()
    figure.subplots().set_yticks([0, 1], ["猫", "dog"])
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save(figure, stream, format="png")
    assert stream.getvalue().startswith(b"\x89PNG")


def card(name: str) -> Drawing:
    curve = Curve(name, name, name, (name, "end"), (0.1, 0.2), (0.1, 0.2), (0.1, 0.2))
    return Scorecard(name, {}, {"gini": Entry(name, gini.scores[0], 0.5, 0.4, 0.6, 8)}, {"curve": curve}).plot()


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_scorecards_and_shown_maps_are_drawn_in_silence_too(name: str, suffix: str, tmp_path: Path) -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for figure in (card(name), show(picture, {name: np.ones((8, 8))}, titles=name)):
            figure.savefig(tmp_path / f"figure.{suffix}")
            assert figure._repr_png_().startswith(b"\x89PNG")


def test_a_letter_comes_from_an_installed_font_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    fonts = {lettering._USUAL: "abc", "Han": "猫犬", "Both": "猫犬ก", "Thai": "ก"}
    monkeypatch.setattr(lettering, "_installed", lambda: tuple(fonts))
    monkeypatch.setattr(lettering, "_letters", lambda font: frozenset(map(ord, fonts[font])))
    assert fallbacks("猫") == ["Han"]
    assert fallbacks("猫ก") == ["Both"]
    assert fallbacks("猫😀") == ["Han"]
    assert fallbacks("😀") == []
    figure = Figure()
    text = figure.text(0, 0, "a猫😀")
    save(figure, io.BytesIO(), format="png")
    assert text.get_text() == f"a猫{MISSING}"
    assert text.get_fontfamily() == [lettering._USUAL, "Han"]


def test_nothing_is_logged_of_fonts_without_a_usual_weight(caplog: pytest.LogCaptureFixture) -> None:
    lettering._letters.cache_clear()
    card("猫").savefig(io.BytesIO(), format="png")
    assert not caplog.records


def test_what_the_usual_font_has_is_left_as_it_is() -> None:
    figure = Figure()
    text = figure.text(0, 0, "café → ж")
    before = text.get_fontfamily()
    save(figure, io.BytesIO(), format="png")
    assert (text.get_text(), text.get_fontfamily()) == ("café → ж", before)
