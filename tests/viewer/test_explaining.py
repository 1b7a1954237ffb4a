"""What the page shows of maps is what `gradsculpt explain` writes, and what it says of them is so."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gradsculpt.cli.images import pixels01
from gradsculpt.cli.main import main
from gradsculpt.errors import ArgumentError, ModelError
from gradsculpt.viewer import explaining
from gradsculpt.viewer.explaining import PREDICTED, Explain, Explained, Look, Rendering, files_of, picture_of
from gradsculpt.viewer.pictures import uploaded
from gradsculpt.viewer.subjects import Subjects
from gradsculpt.viewer.work import Cancelled, Done, Step, Ticket


def explained(photo: Path, subjects: Subjects, *methods: str, target: str = PREDICTED, most: int = 100) -> Explained:
    *steps, done = Explain(uploaded(photo), list(subjects), methods, target, most)(Ticket())
    assert isinstance(done, Done)
    shares = [step.share for step in steps if isinstance(step, Step) and step.share is not None]
    assert shares == sorted(shares)
    assert all(0 <= share <= 1 for share in shares)
    value: Explained = done.value
    return value


def test_maps_are_those_of_the_command(photo: Path, runs: Path, subjects: Subjects, tmp_path: Path) -> None:
    methods = ["gradient", "smoothgrad", "guidedbackprop", "lrp", "gradcam"]
    assert set(methods) < set(explaining.methods())
    networks = [str(runs / "one"), str(runs / "two")]
    out = tmp_path / "maps"
    assert main(["explain", *networks, str(photo), "--out", str(out), "--device", "cpu", "--method", *methods]) == 0
    maps = explained(photo, subjects, *methods).maps
    with (out / "index.csv").open() as file:
        rows = {(row["network"], row["method"]): row for row in csv.DictReader(file)}
    assert len(rows) == len(maps) == 2 * len(methods)
    for each in maps:
        row = rows[each.network, each.method]
        assert each.target.name == row["target"]
        assert f"{each.target.probability:.4f}" == row["probability"]
        np.testing.assert_array_equal(each.values, np.load(out / row["array"]), err_msg=each.title)
        shown = np.asarray(Image.open(out / row["array"].replace(".npy", ".png")))
        small = shown[:: len(shown) // 32, :: len(shown) // 32]
        np.testing.assert_array_equal(picture_of(each, Rendering()), small)


def test_what_is_said_of_a_map_is_so(photo: Path, subjects: Subjects) -> None:
    (first, *_) = explained(photo, subjects, "gradient").maps
    sizes = np.sort(np.abs(first.values.astype(np.float64)).sum(axis=0).ravel())[::-1]
    count = next(n for n in range(1, sizes.size + 1) if sizes[:n].sum() >= sizes.sum() / 2)
    among = np.abs(sizes[:, None] - sizes[None, :]).sum() / (2 * sizes.size * sizes.sum())  # Gini's own formula
    values = {each.score.name: each.value for each in first.said}
    assert values["half_weight"] == pytest.approx(count / sizes.size, abs=2 / sizes.size)
    assert values["gini"] == pytest.approx(among, abs=1e-3)
    assert f"{values['half_weight']:.0%} of the pixels" in " ".join(first.sentences)
    assert "Gini index" in " ".join(first.sentences)
    classifier = next(iter(subjects)).network.classifier
    images01 = pixels01(uploaded(photo).at(32)[None])
    best = np.argsort(-np.abs(first.values).sum(axis=0).ravel(), kind="stable")[:102]
    mask = torch.zeros(32 * 32)
    mask[torch.from_numpy(best.copy())] = 1
    kept = torch.where(mask.view(1, 1, 32, 32) > 0, images01, torch.full_like(images01, 0.5))  # 0.5 is the mean
    expected = classifier.probabilities(kept)[0, classifier.classes.index(first.target.name)]
    assert f"top 10% of the pixels the network is still {float(expected):.0%} sure" in first.sureness
    assert first.sentences[0] == f"{first.target.called}: {first.target.probability:.0%} sure."


def test_a_map_that_is_zero_is_told_as_such(photo: Path, subjects: Subjects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explaining, "attribution_for", lambda *given: lambda network, x, target: torch.zeros_like(x))
    (zero, _) = explained(photo, subjects, "gradient").maps
    assert "zero everywhere" in " ".join(zero.sentences)
    assert picture_of(zero, Rendering()).shape == (32, 32, 3)


def test_the_likeliest_classes_come_first(photo: Path, subjects: Subjects) -> None:
    *_, done = Look(uploaded(photo), list(subjects))(Ticket())
    assert isinstance(done, Done)
    for seen, subject in zip(done.value.seen, subjects, strict=True):
        probabilities = subject.network.probabilities(pixels01(uploaded(photo).at(32)[None]))[0]
        order = probabilities.argsort(descending=True)[:5]
        assert [each.name for each in seen.top] == [str(int(i)) for i in order]
        assert [each.probability for each in seen.top] == pytest.approx(probabilities[order].tolist())


def test_a_class_that_is_chosen_is_explained(photo: Path, subjects: Subjects) -> None:
    maps = {target: explained(photo, subjects, "gradient", target=target).maps[0] for target in ("3", "7")}
    assert [each.target.name for each in maps.values()] == ["3", "7"]
    assert not np.array_equal(maps["3"].values, maps["7"].values)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"methods": []}, "no attribution"),
        ({"most": 1}, "2 maps, and 1 are made"),
        ({"target": "zebra"}, "zebra is no class"),
        ({"methods": ["gradiant"]}, "gradiant"),
        ({"methods": ["os.system"]}, "not on offer"),
        ({"methods": ["smoothed:base=os.path"]}, "not on offer"),
    ],
)
def test_what_cannot_be_made_is_refused(change: dict[str, Any], said: str, photo: Path, subjects: Subjects) -> None:
    methods, given = change.pop("methods", ["gradient"]), change
    with pytest.raises(ArgumentError, match=said):
        explained(photo, subjects, *methods, **given)


def test_a_map_that_cannot_be_made_names_network_and_method(
    photo: Path, subjects: Subjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: object) -> Any:
        raise ModelError("it has no layers.")

    monkeypatch.setattr(explaining, "attribution_for", lambda *given: refuse)
    with pytest.raises(ModelError, match="gradient cannot explain one: it has no layers"):
        explained(photo, subjects, "gradient")


def test_it_stops_within_a_map(photo: Path, subjects: Subjects, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pass of a network checks the ticket of the thread that works."""
    from gradsculpt.viewer.work import at_work

    ticket, passes = Ticket(), []

    def attribute(network: Any, x: Any, target: Any) -> Any:
        for _ in range(10):
            passes.append(network(x))
            ticket.cancel()

    monkeypatch.setattr(explaining, "attribution_for", lambda *given: attribute)
    with at_work(ticket), pytest.raises(Cancelled):
        list(Explain(uploaded(photo), list(subjects), ["gradient"], PREDICTED, 9)(ticket))
    assert len(passes) == 1


@pytest.mark.parametrize("signed", [False, True])
def test_the_overlay_goes_from_the_picture_to_the_map(signed: bool, photo: Path, subjects: Subjects) -> None:
    each = explained(photo, subjects, "gradient").maps[0]
    weak, middle, strong = (picture_of(each, Rendering(over, 99.0, signed)).astype(int) for over in (0.0, 0.5, 1.0))
    np.testing.assert_array_equal(weak, each.image)
    np.testing.assert_allclose(middle, (weak + strong) / 2, atol=1)
    assert not np.array_equal(picture_of(each, Rendering(None, 90.0, signed)), picture_of(each, Rendering(None)))


def test_files_have_safe_names_and_hold_the_values(photo: Path, subjects: Subjects, tmp_path: Path) -> None:
    made = explained(photo, subjects, "gradient", "inputxgradient")
    for title in ("../../etc/passwd", "<b>a & b</b>.png", "nul", "x" * 300, ""):
        paths = files_of(explaining.renamed(made, title), Rendering(), tmp_path / "files" / str(len(title)))
        assert len({path.name for path in paths}) == 8
        for path in paths:
            assert path.parent == tmp_path / "files" / str(len(title))
            assert not set(path.name) & set("/\\<>& ")
            assert len(path.name) < 255
        arrays = [np.load(path) for path in paths if path.suffix == ".npy"]
        for array, each in zip(arrays, made.maps, strict=True):
            np.testing.assert_array_equal(array, each.values)
