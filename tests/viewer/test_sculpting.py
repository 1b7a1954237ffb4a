"""Train, small: two runs like any other, the map of one picture watched; what is stopped or refused leaves nothing."""

import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from gradsculpt.attributions import Gradient
from gradsculpt.cli.images import pixels01
from gradsculpt.data.decode import decode
from gradsculpt.errors import ArgumentError, DataError, RunError
from gradsculpt.models import load
from gradsculpt.report.meaning import of_map
from gradsculpt.runs import is_finished
from gradsculpt.viewer.sculpting import EPOCHS, IMAGES, KEPT, Sculpt, Sculpted, packed, recipes
from gradsculpt.viewer.work import Cancelled, Desk, Step, Ticket
from gradsculpt.visualize import colour
from tests.viewer.hostile import classes
from tests.viewer.hostile import packed as zipped
from tests.viewer.sculpted import all_of, archive_of_squares


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return archive_of_squares(tmp_path_factory.mktemp("squares") / "squares.zip")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, squares: Path) -> tuple[list[Step], Sculpted]:
    return all_of(Sculpt(tmp_path_factory.mktemp("place"), data=squares, epochs=1, device="cpu"))


def test_two_runs_like_any_other_come_out(made: tuple[list[Step], Sculpted]) -> None:
    _, sculpted = made
    assert [course.title for course in sculpted.courses] == ["standard", "sculpted: elastic-net"]
    for course in sculpted.courses:
        assert course.run is not None
        assert is_finished(course.run)
        assert (course.run / "config.yaml").is_file()
        assert load(course.run).classes == ("green", "red")
        assert [row["epoch"] for row in course.rows] == ["1"]
    assert [course.run and course.run.name for course in sculpted.courses] == ["standard", "elastic-net"]


def test_the_maps_are_those_of_the_networks(made: tuple[list[Step], Sculpted]) -> None:
    _, sculpted = made
    first = [course.moments[0] for course in sculpted.courses]
    np.testing.assert_array_equal(first[0].picture, first[1].picture)  # both start from the same weights
    assert first[0].probability == first[1].probability
    for course in sculpted.courses:
        assert [moment.epochs for moment in course.moments] == [0, 1]
        assert course.run is not None
        classifier = load(course.run).eval()  # of its only epoch, the last that was looked at
        image, label = pixels01(sculpted.image[None]), classifier.classes.index(sculpted.label)
        maps = Gradient()(classifier.network, classifier.space.normalize(image), torch.tensor([label]))
        np.testing.assert_allclose(
            course.moments[-1].picture.astype(int), colour(maps)[0].astype(int), atol=3, err_msg=course.title
        )
        assert course.moments[-1].text == of_map(maps[0])[0].text
        probability = float(classifier(image).softmax(dim=1)[0, label])
        assert course.moments[-1].probability == pytest.approx(probability, abs=1e-3)
    assert not np.array_equal(*(course.moments[-1].picture for course in sculpted.courses))


def test_the_picture_is_one_of_those_that_were_uploaded_and_held_out(
    made: tuple[list[Step], Sculpted], squares: Path, tmp_path: Path
) -> None:
    _, sculpted = made
    with zipfile.ZipFile(squares) as file:
        file.extractall(tmp_path)
    same = [
        path
        for path in tmp_path.rglob("*.png")
        if np.array_equal(decode(path, sculpted.image.shape[0]), sculpted.image)
    ]
    assert [path.parent.name for path in same] == [sculpted.label]


def test_what_there_is_so_far_grows_and_shares_do_not_fall(made: tuple[list[Step], Sculpted]) -> None:
    steps, sculpted = made
    so_far = [step.so_far for step in steps if step.so_far is not None]
    counts = [[len(course.moments) for course in each.courses] for each in so_far]
    assert counts == sorted(counts)
    assert [1, 0] in counts or [2, 0] in counts  # the standard one is seen before the other begins
    trained = [step.share for step in steps if step.text.startswith(("training", "epoch"))]
    assert trained == sorted(share for share in trained if share is not None)
    assert any(step.text.startswith("epoch 1 of 1 is done, with a loss of ") for step in steps)
    assert [plot.title for plot in sculpted.plots()] == ["Training: loss", "Training: accuracy", "Training: sparsity"]
    assert sculpted.courses[0].told.startswith("1 epoch, right on ")
    assert sculpted.courses[0].told.endswith(" images that it was not trained on")


def test_no_step_tells_where_anything_lies(made: tuple[list[Step], Sculpted]) -> None:
    steps, _ = made
    assert steps
    assert not [
        step.text for step in steps if "/tmp" in step.text or "folder:" in step.text or "training-" in step.text
    ]


def test_runs_are_packed_without_their_images(made: tuple[list[Step], Sculpted], tmp_path: Path) -> None:
    _, sculpted = made
    runs = [course.run for course in sculpted.courses if course.run is not None]
    with zipfile.ZipFile(packed(runs, tmp_path)) as file:
        file.extractall(tmp_path / "out")
        names = {name.partition("/")[2].partition("/")[0] for name in file.namelist()}
    assert names == {"config.yaml", "metrics.csv", "model.json", "model.safetensors"}
    assert load(tmp_path / "out" / "elastic-net").classes == ("green", "red")


def test_every_recipe_on_offer_can_be_had_and_the_others_cannot() -> None:
    offered = dict(recipes())
    assert {"elastic-net", "l1", "group", "harmonize", "aga-l2-cos", "penalty"} <= offered.keys()
    # They name another network, start from weights, teach, permute labels, or say no method.
    others = {"standard", "fine-tune", "fine-tune-standard", "atex", "random-labels", "advgrad-cells", "aga-lenet"}
    assert not offered.keys() & {*others, "aga-imagenet100", "hessian-resnet18"}
    assert all(told.endswith(".") and len(told) > 20 for told in offered.values())
    for name in offered:
        settings = Sculpt(Path("unused"), name)._settings("cells", name, Path("unused"))
        assert (settings.model, settings.epochs, settings.image_size, settings.weights) == ("convnet", 6, 64, None)
        assert settings.objective.requirements.teacher is None


@pytest.mark.parametrize(
    "asked",
    [
        {"epochs": EPOCHS[0] - 1},
        {"epochs": EPOCHS[1] + 1},
        {"images": IMAGES[0] - 1},
        {"images": IMAGES[1] + 1},
        {"recipe": "fine-tune"},
        {"recipe": "../../etc/passwd"},
    ],
)
def test_what_is_out_of_bounds_is_refused_at_once(tmp_path: Path, asked: dict[str, object]) -> None:
    with pytest.raises(ArgumentError):
        Sculpt(tmp_path, **asked)  # type: ignore[arg-type]


def test_more_are_not_kept_than_there_is_room_for(tmp_path: Path, squares: Path) -> None:
    for i in range(KEPT):
        (tmp_path / f"training-{i}").mkdir()
    with pytest.raises(RunError, match="are kept already"):
        all_of(Sculpt(tmp_path, data=squares))


def test_what_cannot_be_trained_is_told_before_anything_is_trained(tmp_path: Path, squares: Path) -> None:
    cases = {
        "attention": (Sculpt(tmp_path, "harmonize", squares, device="cpu"), DataError),
        "one class": (Sculpt(tmp_path, data=zipped(tmp_path / "one.zip", classes(1)), device="cpu"), DataError),
        "few": (Sculpt(tmp_path, data=zipped(tmp_path / "few.zip", classes(2, 1)), device="cpu"), DataError),
    }
    for told, (work, error) in cases.items():
        steps = []
        with pytest.raises(error):
            steps += list(work(Ticket()))
        assert not [step for step in steps if "training" in getattr(step, "text", "")], told
        assert not list(tmp_path.glob("training-*")), told


def test_a_training_that_is_cancelled_leaves_nothing(tmp_path: Path, squares: Path) -> None:
    ticket = Ticket()

    def steps() -> None:
        for step in Sculpt(tmp_path, data=squares, epochs=9, device="cpu")(ticket):
            if isinstance(step, Step) and step.text.startswith("training standard") and step.share:
                ticket.cancel()

    with pytest.raises(Cancelled):
        steps()
    assert not list(tmp_path.iterdir())


def test_whoever_leaves_ends_the_training_and_leaves_nothing(tmp_path: Path, squares: Path) -> None:
    desk, before = Desk(), threading.active_count()
    heard = desk.do(Ticket(), Sculpt(tmp_path, data=squares, epochs=9, device="cpu"))
    for message in heard:
        if isinstance(message, Step) and message.text.startswith("training standard"):
            break
    heard.close()  # type: ignore[attr-defined]
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and thread.daemon:
            thread.join(0.1)
    waited = threading.Event()
    for _ in range(600):
        if not list(tmp_path.iterdir()):
            break
        waited.wait(0.1)
    assert not list(tmp_path.iterdir())
    desk.close()
    assert threading.active_count() <= before + 3
