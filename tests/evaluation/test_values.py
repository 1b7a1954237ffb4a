"""The table of values: written as it comes, taken over after an interruption, and thrown away when it does not fit."""

import csv
import json

import pytest
import torch
from torch import nn

from gradsculpt.attributions import SmoothGrad
from gradsculpt.errors import RunError
from gradsculpt.evaluation import Protocol, evaluate
from gradsculpt.evaluation.groups import Point
from gradsculpt.evaluation.values import VALUES, Header, Values
from gradsculpt.inputs import InputSpace
from gradsculpt.metrics import Score
from gradsculpt.models import Classifier

PROTOCOL = Protocol(
    groups=("accuracy", "sparsity", "robustness-random", "robustness-attack", "fidelity", "sanity"),
    rps_levels=(8.0,),
    draws=2,
    attack_levels=(1.0,),
    attack_steps=2,
    attack_images=3,
    steps=3,
    sanity_images=3,
)
SCORE = Score("height", 0.0, float("inf"), "higher", "m")


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Softplus(), nn.Flatten(), nn.Linear(4 * 64, 3))
    return Classifier(network, InputSpace((0.5,) * 3, (0.25,) * 3), ("a", "b", "c"), 8).eval()


def batches(count=6, size=2):
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(count, 3, 8, 8, generator=generator)
    labels = torch.randint(0, 3, (count,), generator=generator)
    return list(zip(images.split(size), labels.split(size), strict=True))


class StopError(Exception):
    """What interrupts an evaluation."""


def interrupt(classifier, folder, after=2, **options):
    def stop(done, _):
        if done >= after:
            raise StopError

    with pytest.raises(StopError):
        evaluate(classifier, batches(), PROTOCOL, folder=folder, progress=stop, **options)


def scored(classifier, folder, protocol=PROTOCOL, size=2, **options):
    """Score into a folder, and return the bytes of card and table, and for how many batches maps were read."""
    calls = []
    hook = classifier.register_forward_hook(lambda *_: calls.append(1))
    card = evaluate(classifier, batches(size=size), protocol, folder=folder, **options)
    hook.remove()
    card.save(folder / "scorecard.json")
    assert sorted(path.name for path in folder.iterdir()) == [VALUES, "scorecard.json"]
    return (folder / "scorecard.json").read_bytes(), (folder / VALUES).read_bytes(), len(calls)


def test_an_interrupted_evaluation_goes_on_to_the_same_bytes(classifier, tmp_path):
    card, values, calls = scored(classifier, tmp_path / "whole")
    assert calls == 3
    interrupt(classifier, tmp_path / "parts")
    interrupt(classifier, tmp_path / "parts", after=4)
    assert scored(classifier, tmp_path / "parts") == (card, values, 1)


def test_a_table_that_was_cut_off_within_a_batch_loses_and_repeats_no_image(classifier, tmp_path):
    card, values, _ = scored(classifier, tmp_path / "whole")
    interrupt(classifier, tmp_path / "parts", after=4)
    draft = tmp_path / "parts" / "scorecard.part.csv"
    lines = draft.read_bytes().splitlines(keepends=True)
    assert len(lines) == 5
    draft.write_bytes(b"".join(lines[:4]) + lines[4][:40])
    assert scored(classifier, tmp_path / "parts") == (card, values, 2)


def test_batches_of_another_size_go_on_as_well(classifier, tmp_path):
    interrupt(classifier, tmp_path)
    _, values, _ = scored(classifier, tmp_path, size=3)
    rows = list(csv.DictReader(values.decode().splitlines()))
    assert [row["image"] for row in rows] == ["0", "1", "2", "3", "4", "5"]


def test_another_classifier_protocol_setting_or_image_starts_anew(classifier, tmp_path):
    names = list("uvwxyz")
    interrupt(classifier, tmp_path, names=names, settings={"data": "one"})
    same = {"names": names, "settings": {"data": "one"}}

    def change_back(change, undo, **options):
        change()
        assert scored(classifier, tmp_path, **{**same, **options})[2] == 3
        undo()
        (tmp_path / "scorecard.json").unlink()
        interrupt(classifier, tmp_path, names=names, settings={"data": "one"})

    def nothing():
        return None

    layer = classifier.network[3]
    change_back(lambda: layer.weight.data.mul_(2), lambda: layer.weight.data.div_(2))
    smooth = classifier.network[1]
    change_back(lambda: setattr(smooth, "beta", 5), lambda: setattr(smooth, "beta", 1.0))
    space = classifier.space
    other = InputSpace((0.4,) * 3, (0.25,) * 3)
    change_back(lambda: setattr(classifier, "space", other), lambda: setattr(classifier, "space", space))
    change_back(nothing, nothing, settings={"data": "two"})
    change_back(nothing, nothing, names=list("uvwxya"))
    change_back(nothing, nothing, protocol=Protocol(**{**vars(PROTOCOL), "seed": 1}))
    change_back(nothing, nothing, protocol=Protocol(**{**vars(PROTOCOL), "attribution": SmoothGrad(samples=2)}))
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
def test_a_damaged_table_starts_anew(classifier, tmp_path, damage):
    card, values, _ = scored(classifier, tmp_path / "whole")
    folder = tmp_path / "parts"
    interrupt(classifier, folder, after=4)
    files = folder / "scorecard.part.csv", folder / "scorecard.part.json"
    for file, text in zip(files, damage(*(file.read_text() for file in files)), strict=True):
        file.write_text(text)
    found = scored(classifier, folder)
    assert found[:2] == (card, values)
    assert found[2] == 3


def test_a_finished_evaluation_is_not_taken_over(classifier, tmp_path):
    first = scored(classifier, tmp_path)
    assert scored(classifier, tmp_path) == first


def test_the_table_has_a_row_an_image_and_empty_fields_for_what_was_not_measured(classifier, tmp_path):
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


def test_values_survive_the_file_to_the_last_bit(tmp_path):
    header, late = Header("g", SCORE, None), Header("g", SCORE, Point("curve", 0.1))
    numbers = torch.tensor([0.1 + 0.2, torch.nan, -1e-300, torch.inf], dtype=torch.float64)
    table = Values(tmp_path, {"a": 1})
    table.append(["1", "2", "3", "4"], {header: numbers})
    table.append(["5"], {header: numbers[:1], late: numbers[2:3]})
    found = Values(tmp_path, {"a": 1}).columns()
    assert list(found) == [header, late]
    torch.testing.assert_close(found[header], torch.cat([numbers, numbers[:1]]), rtol=0, atol=0, equal_nan=True)
    assert found[late].isnan().tolist() == [True] * 4 + [False]
    assert not len(Values(tmp_path, {"a": 2}))


def test_a_folder_that_cannot_be_written_to_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written to"):
        Values(tmp_path / "file" / "folder", {})


def test_the_note_is_plain_json(tmp_path):
    Values(tmp_path, {"limit": None}).append(["1"], {Header("g", SCORE, None): torch.zeros(1)})
    note = json.loads((tmp_path / "scorecard.part.json").read_text())
    assert note["headers"]["height"]["score"]["unit"] == "m"
