"""The table of values: written as it comes, taken over after an interruption, and thrown away when it does not fit."""

import csv
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradsculpt.attributions import SmoothGrad
from gradsculpt.errors import RunError
from gradsculpt.evaluation import (
    Accuracy,
    Fidelity,
    Point,
    Protocol,
    RobustnessAttack,
    RobustnessRandom,
    Sanity,
    Scorecard,
    Sparsity,
    evaluate,
)
from gradsculpt.evaluation.per_image_values import VALUES, Header, PerImageValues
from gradsculpt.inputs import InputSpace
from gradsculpt.metrics import Score
from gradsculpt.models import Classifier
from gradsculpt.seals import SEAL
from gradsculpt.wording import printable

PROTOCOL = Protocol(
    groups=(
        Accuracy(),
        Sparsity(),
        RobustnessRandom(rps_levels=(8.0,), draws=2),
        RobustnessAttack(levels=(), steps=1, images=3),
        Fidelity(steps=3),
        Sanity(images=3),
    )
)
SCORE = Score("height", 0.0, float("inf"), "higher", "m")


@pytest.fixture
def classifier() -> Classifier:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Softplus(), nn.Flatten(), nn.Linear(4 * 64, 3))
    return Classifier(network, InputSpace((0.5,) * 3, (0.25,) * 3), ("a", "b", "c"), 8).eval()


def batches(count: int = 6, size: int = 2) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(count, 3, 8, 8, generator=generator)
    labels = torch.randint(0, 3, (count,), generator=generator)
    return list(zip(torch.split(images, size), torch.split(labels, size), strict=True))


class StopError(Exception):
    """What interrupts an evaluation."""


def interrupt(classifier: Classifier, folder: Path, after: int = 2, **options: Any) -> None:
    def stop(done: int, _: int | None) -> None:
        if done >= after:
            raise StopError

    with pytest.raises(StopError):
        evaluate(classifier, options.pop("data", batches()), PROTOCOL, folder=folder, progress=stop, **options)


def scored(
    classifier: Classifier, folder: Path, protocol: Protocol = PROTOCOL, size: int = 2, **options: Any
) -> tuple[bytes, bytes, int]:
    """Score into a folder, and return the bytes of card and table, and for how many batches maps were read."""
    calls: list[int] = []
    hook = classifier.register_forward_hook(lambda *_: calls.append(1))
    card = evaluate(classifier, options.pop("data", batches(size=size)), protocol, folder=folder, **options)
    hook.remove()
    card.save(folder / "scorecard.json")
    assert sorted(path.name for path in folder.iterdir()) == [VALUES, "scorecard.json"]
    return (folder / "scorecard.json").read_bytes(), (folder / VALUES).read_bytes(), len(calls)


def test_an_interrupted_evaluation_goes_on_to_the_same_bytes(classifier: Classifier, tmp_path: Path) -> None:
    card, values, calls = scored(classifier, tmp_path / "whole")
    assert calls == 3
    interrupt(classifier, tmp_path / "parts")
    interrupt(classifier, tmp_path / "parts", after=4)
    assert scored(classifier, tmp_path / "parts") == (card, values, 1)


def changed(place: int, what: str) -> list[tuple[Tensor, ...]]:
    """Return the batches with a ground truth, and one pixel, label or pixel of the truth of an image changed."""
    images, labels = (torch.cat(parts) for parts in zip(*batches(), strict=True))
    truth = torch.zeros(6, 1, 8, 8)
    if what == "pixel":
        images[place, 0, 0, 0] = 1 - images[place, 0, 0, 0]
    elif what == "label":
        labels[place] = (labels[place] + 1) % 3
    elif what == "truth":
        truth[place, 0, 0, 0] = 1
    return list(zip(*(torch.split(values, 2) for values in (images, labels, truth)), strict=True))


@pytest.mark.parametrize(("place", "calls"), [(0, 3), (1, 3), (2, 2), (3, 2), (4, 1)])
@pytest.mark.parametrize("what", ["pixel", "label", "truth"])
def test_other_images_under_the_same_names_are_measured_anew(
    classifier: Classifier, tmp_path: Path, place: int, calls: int, what: str
) -> None:
    names, new = list("uvwxyz"), changed(place, what)
    card, values, _ = scored(classifier, tmp_path / "whole", data=new, names=names)
    interrupt(classifier, tmp_path / "parts", after=4, data=changed(0, "nothing"), names=names)
    assert scored(classifier, tmp_path / "parts", data=new, names=names) == (card, values, calls)


def test_a_table_that_was_cut_off_within_a_batch_loses_and_repeats_no_image(
    classifier: Classifier, tmp_path: Path
) -> None:
    card, values, _ = scored(classifier, tmp_path / "whole")
    interrupt(classifier, tmp_path / "parts", after=4)
    draft = tmp_path / "parts" / "scorecard.part.csv"
    lines = draft.read_bytes().splitlines(keepends=True)
    assert len(lines) == 5
    draft.write_bytes(b"".join(lines[:4]) + lines[4][:40])
    assert scored(classifier, tmp_path / "parts") == (card, values, 2)


def test_batches_of_another_size_go_on_as_well(classifier: Classifier, tmp_path: Path) -> None:
    interrupt(classifier, tmp_path)
    _, values, _ = scored(classifier, tmp_path, size=3)
    rows = list(csv.DictReader(values.decode().splitlines()))
    assert [row["image"] for row in rows] == ["0", "1", "2", "3", "4", "5"]


def test_another_classifier_protocol_setting_or_image_starts_anew(classifier: Classifier, tmp_path: Path) -> None:
    names = list("uvwxyz")
    interrupt(classifier, tmp_path, names=names, settings={"data": "one"})
    same: dict[str, Any] = {"names": names, "settings": {"data": "one"}}

    def change_back(change: Callable[[], object], undo: Callable[[], object], **options: Any) -> None:
        change()
        assert scored(classifier, tmp_path, **{**same, **options})[2] == 3
        undo()
        (tmp_path / "scorecard.json").unlink()
        interrupt(classifier, tmp_path, names=names, settings={"data": "one"})

    def nothing() -> None:
        return None

    layer, smooth = classifier.network.get_submodule("3"), classifier.network.get_submodule("1")
    assert isinstance(layer, nn.Linear)
    change_back(lambda: layer.weight.data.mul_(2), lambda: layer.weight.data.div_(2))
    change_back(lambda: setattr(smooth, "beta", 5), lambda: setattr(smooth, "beta", 1.0))
    space = classifier.space
    other = InputSpace((0.4,) * 3, (0.25,) * 3)
    change_back(lambda: setattr(classifier, "space", other), lambda: setattr(classifier, "space", space))
    change_back(nothing, nothing, settings={"data": "two"})
    change_back(nothing, nothing, names=list("uvwxya"))
    change_back(nothing, nothing, protocol=replace(PROTOCOL, seed=1))
    finer = tuple(Fidelity(steps=4) if isinstance(group, Fidelity) else group for group in PROTOCOL.groups)
    change_back(nothing, nothing, protocol=replace(PROTOCOL, groups=finer))
    change_back(nothing, nothing, protocol=replace(PROTOCOL, attribution=SmoothGrad(samples=2)))
    assert scored(classifier, tmp_path, names=names, settings={"data": "one"})[2] == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda text, note: ("", note),
        lambda text, note: (text, note[:-30]),
        lambda text, note: (text, "[]"),
        lambda text, note: (text.replace("0.", "o.", 1), note),
        lambda text, note: (text.replace(",", "", 40), note),
        lambda text, note: (text[: text.index("\n") + 60] + "\n", note),
        lambda text, note: (text.replace("image,", "name,", 1), note),
        lambda text, note: (text.replace(",brier", ",briar", 1), note),
        lambda text, note: ("\x00" * 50 + "\n", note),
    ],
    ids=["empty", "half a note", "a list", "no number", "commas lost", "short row", "no names", "other", "zeros"],
)
def test_a_damaged_table_starts_anew(
    classifier: Classifier, tmp_path: Path, damage: Callable[[str, str], tuple[str, str]]
) -> None:
    card, values, _ = scored(classifier, tmp_path / "whole")
    folder = tmp_path / "parts"
    interrupt(classifier, folder, after=4)
    files = folder / "scorecard.part.csv", folder / "scorecard.part.json"
    for file, text in zip(files, damage(*(file.read_text() for file in files)), strict=True):
        file.write_text(text)
    found = scored(classifier, folder)
    assert found[:2] == (card, values)
    assert found[2] == 3


def test_a_finished_evaluation_is_not_taken_over(classifier: Classifier, tmp_path: Path) -> None:
    first = scored(classifier, tmp_path)
    assert scored(classifier, tmp_path) == first


def test_the_table_has_a_row_an_image_and_empty_fields_for_what_was_not_measured(
    classifier: Classifier, tmp_path: Path
) -> None:
    names = ["a/b.png", "c, d", 'e"f', "ü", "4", "5"]
    card = evaluate(classifier, batches(), PROTOCOL, folder=tmp_path, names=names)
    with (tmp_path / VALUES).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == names
    assert [row["attacked_ssim"] != "" for row in rows] == [True] * 3 + [False] * 3
    assert card["attacked_ssim"].images == 3
    known = [float(row["attacked_ssim"]) for row in rows[:3]]
    assert card["attacked_ssim"].mean == pytest.approx(sum(known) / 3)
    for name, entry in card.entries.items():
        if name == "calibration_error":  # of all images together
            continue
        column = [float(row[name]) for row in rows if row[name]]
        assert entry.mean == pytest.approx(sum(column) / len(column)), name


def test_values_survive_the_file_to_the_last_bit(tmp_path: Path) -> None:
    header, late = Header("g", SCORE, None), Header("g", SCORE, Point("curve", 0.1))
    numbers = torch.tensor([0.1 + 0.2, torch.nan, -1e-300, torch.inf], dtype=torch.float64)
    table = PerImageValues(tmp_path, "a")
    table.append(["1", "2", "3", "4"], {header: numbers})
    table.append(["5"], {header: numbers[:1], late: numbers[2:3]})
    columns = PerImageValues(tmp_path, "a").columns()
    assert list(columns) == [header, late]
    torch.testing.assert_close(columns[header], torch.cat([numbers, numbers[:1]]), rtol=0, atol=0, equal_nan=True)
    assert columns[late].isnan().tolist() == [True] * 4 + [False]
    assert not len(PerImageValues(tmp_path, "b"))


def test_a_folder_that_cannot_be_written_to_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written to"):
        PerImageValues(tmp_path / "file" / "folder")


def test_the_note_is_plain_json(tmp_path: Path) -> None:
    PerImageValues(tmp_path).append(["1"], {Header("g", SCORE, None): torch.zeros(1)})
    note = json.loads((tmp_path / "scorecard.part.json").read_text())
    assert note["headers"]["height"]["score"]["unit"] == "m"


def test_fewer_images_than_before_are_scored_alone(classifier: Classifier, tmp_path: Path) -> None:
    card, values, _ = scored(classifier, tmp_path / "whole", data=batches()[:1])
    interrupt(classifier, tmp_path / "parts", after=4)
    assert scored(classifier, tmp_path / "parts", data=batches()[:1])[:2] == (card, values)


def test_an_image_whose_batch_changed_is_measured_anew(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Softplus(), nn.Flatten(), nn.Linear(4 * 36, 3))
    subject = Classifier(network, InputSpace((0.5,) * 3, (0.25,) * 3), ("a", "b", "c"), 8).train()
    protocol, new = Protocol(groups=(Accuracy(), Sparsity())), changed(3, "pixel")

    def stop(done: int, _: int | None) -> None:
        if done >= 4:
            raise StopError

    whole = evaluate(subject, new, protocol, folder=tmp_path / "whole")
    with pytest.raises(StopError):
        evaluate(subject, changed(0, "nothing"), protocol, folder=tmp_path / "parts", progress=stop)
    assert evaluate(subject, new, protocol, folder=tmp_path / "parts") == whole
    assert (tmp_path / "parts" / VALUES).read_bytes() == (tmp_path / "whole" / VALUES).read_bytes()


def test_two_threads_do_not_write_into_one_folder(classifier: Classifier, tmp_path: Path) -> None:
    results: list[str] = []

    def second() -> None:
        try:
            evaluate(classifier, batches(), PROTOCOL, folder=tmp_path)
        except RunError as error:
            results.append(str(error))

    def meanwhile(done: int, _: int | None) -> None:
        if not results:
            thread = threading.Thread(target=second)
            thread.start()
            thread.join()

    evaluate(classifier, batches(), PROTOCOL, folder=tmp_path, progress=meanwhile)
    assert "is being written to (evaluate by process" in results[0]
    assert len((tmp_path / VALUES).read_text().splitlines()) == 7


def test_any_name_of_an_image_can_be_written(classifier: Classifier, tmp_path: Path) -> None:
    names = ["caf\udce9", "two\nlines", "cr\rhere", "[/b]", '"quoted"', "x" * 240]
    interrupt(classifier, tmp_path, names=names)
    evaluate(classifier, batches(), PROTOCOL, folder=tmp_path, names=names)
    with (tmp_path / VALUES).open(encoding="utf-8", newline="") as file:
        assert [row["image"] for row in csv.DictReader(file)] == [printable(name) for name in names]


def test_files_are_strict_json_and_those_of_before_are_read(classifier: Classifier, tmp_path: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    interrupt(classifier, tmp_path)
    json.loads((tmp_path / "scorecard.part.json").read_text(), parse_constant=refuse)
    card = evaluate(classifier, batches(), PROTOCOL, folder=tmp_path)
    card.save(tmp_path / "scorecard.json")
    text = (tmp_path / "scorecard.json").read_text()
    json.loads(text, parse_constant=refuse)
    again = Scorecard.load(tmp_path / "scorecard.json")
    assert (again.entries, again.curves) == (card.entries, card.curves)
    assert any(entry.score.high == float("inf") for entry in again.entries.values())
    older = {name: value for name, value in json.loads(text).items() if name != SEAL}
    (tmp_path / "older.json").write_text(json.dumps(older).replace('"high": null', '"high": Infinity'))
    assert Scorecard.load(tmp_path / "older.json").entries == card.entries


def test_a_row_takes_little_memory() -> None:
    import tracemalloc

    values = PerImageValues()
    scores = [Score(f"score {i}", 0.0, 1.0, None) for i in range(20)]
    tracemalloc.start()
    for start in range(0, 2000, 100):
        columns = {Header("group", score, None): torch.rand(100) for score in scores}
        values.append([f"image {start + i}" for i in range(100)], columns)
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert taken < 700 * len(values)
    assert len(values.columns()) == 20
