"""Attack: a picture changed so that nobody sees it, and what becomes of its map, for networks beside each other."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from gradsculpt.attacks import Manipulation
from gradsculpt.cli.images import pixels01, predictions, target_classes
from gradsculpt.cli.parts import attack_of, family, names, settings_of
from gradsculpt.cli.sized import LEVELS, attribution_for, sized
from gradsculpt.cli.sources import summary
from gradsculpt.errors import ArgumentError, ModelError
from gradsculpt.evaluation.attacked import attacked_images, figures
from gradsculpt.metrics import Score, ssim, topk_intersection
from gradsculpt.models.imagenet import in_words
from gradsculpt.progress import Reporter
from gradsculpt.report.meaning import direction, percent, sentence
from gradsculpt.viewer.stages import stage, whole_steps
from gradsculpt.viewer.work import Done, Step, Ticket, heard
from gradsculpt.visualize import colour, difference, plain
from gradsculpt.visualize.render import amplification
from gradsculpt.wording import counted, printable

if TYPE_CHECKING:
    from gradsculpt.attacks import Attack
    from gradsculpt.cli.networks import NamedNetwork
    from gradsculpt.evaluation.attacked import View
    from gradsculpt.models import Classifier
    from gradsculpt.viewer.pictures import Picture
    from gradsculpt.viewer.subjects import Subject
    from gradsculpt.visualize.render import Picture as Pixels

TOP = 0.4
"""The share of the non-zero pixels whose overlap is told, as `gradsculpt attack` tells it."""

_WHEN = "before and after an attack on the map"
LIKENESS = ssim.scores[0].within("attacked_ssim", _WHEN)
OVERLAP = topk_intersection.scores[0].within("attacked_topk_intersection", _WHEN)


@dataclass(frozen=True)
class Answer:
    """The class that a network predicts, in words, and its probability in [0, 1]."""

    called: str
    probability: float

    def __str__(self) -> str:
        return f"{self.called} ({percent(self.probability)})"


@dataclass(frozen=True, eq=False)
class AttackedMap:
    """What an attack made of a picture and of a network's map of it.

    Args:
        network: The network, by its title.
        target: The class that the map is of, in words.
        before: What the network predicts for the picture.
        after: What it predicts for the attacked one.
        in_file: What it predicts for the attacked one in 8 bits, as a file holds it.
        kept: Whether the predicted class is what it was.
        image: The picture as the network sees it, uint8 [S, S, 3].
        attacked: The attacked picture, in 8 bits.
        change: What was added, in grey where nothing was, `factor` times as strong as it is.
        clean_map: The map of the picture, float32 [C, S, S].
        attacked_map: The map of the attacked picture.
        scores: The figures of `gradsculpt attack`: ssim, topk, linf, rms, and those of the picture in 8 bits.
        smooth_beta: The sharpness of the Softplus whose slopes the attack followed; None for the network's own.
    """

    network: str
    target: str
    before: Answer
    after: Answer
    in_file: Answer
    kept: bool
    image: Pixels
    attacked: Pixels
    change: Pixels
    factor: float
    clean_map: npt.NDArray[np.float32]
    attacked_map: npt.NDArray[np.float32]
    scores: dict[str, float]
    smooth_beta: float | None = None

    @property
    def sentences(self) -> tuple[str, ...]:
        """What is to be said of it: the prediction, how alike the maps are, how far the picture was moved."""
        was, now = percent(self.before.probability), percent(self.after.probability)
        lines = [f"The predicted class changes from {self.before} to {self.after}."]
        if self.kept:
            lines = [f"The predicted class stays {self.before.called}: {was} sure before the attack, {now} after it."]
        lines += [_told(score, value, name) for score, value, name in self.likeness]
        if self.scores["linf"] == 0:
            lines += ["The picture was not changed at all: nothing that was tried within this size serves the attack."]
        else:
            lines += [
                f"The colour value that moves most moves by {self.scores['linf']:.3g} of {LEVELS} levels; the root "
                f"mean square over all is {self.scores['rms']:.3g}.",
                f"Rounded to 8 bits, as a file holds the picture, SSIM is {self.scores['rounded_ssim']:.2f} and "
                f"{percent(self.scores['rounded_topk'])} of the top pixels stay; the network says {self.in_file}.",
            ]
        if self.smooth_beta is not None:
            lines += [
                "The attack followed the slopes of the same network with Softplus of beta "
                f"{self.smooth_beta:g} in place of ReLU; all figures are of the network itself."
            ]
        return tuple(lines)

    @property
    def likeness(self) -> tuple[tuple[Score, float, str], ...]:
        """How alike the maps before and after are, by the two scores of the command: score, value, and its name."""
        top = f"top-k intersection, k = {TOP:.0%} of the pixels that are not zero"
        return (LIKENESS, self.scores["ssim"], "SSIM"), (OVERLAP, self.scores["topk"], top)

    @property
    def maps(self) -> tuple[Pixels, Pixels]:
        """The map before and the one after, as pictures, each scaled by itself."""
        pair = torch.from_numpy(np.stack([self.clean_map, self.attacked_map]))
        before, after = colour(pair)
        return before, after


@dataclass(frozen=True)
class AttackedMaps:
    """What an attack made of a picture, for each network."""

    title: str
    attack: str
    eps: float
    method: str
    size: str
    maps: tuple[AttackedMap, ...]


@dataclass(frozen=True)
class AttackSettings:
    """What is asked for.

    Args:
        attack: One of `attacks`.
        eps: How far the picture may be moved, in 8-bit levels, from 0 to 255: every colour value, or the root mean
            square over all of them where the attack is in L2.
        method: The attribution whose map is attacked, by one of the names of `gradsculpt list`.
        steps: Steps of the attack; those that take none have none.
        target: The class whose map is attacked, by name; None for the one that each network predicts.

    Raises: ArgumentError if there is no such attack or attribution, or a number is out of range.
    """

    attack: str = "targeted"
    eps: float = 4.0
    method: str = "gradient"
    steps: float = 30
    target: str | None = None
    most_steps: int = field(default=256, repr=False)

    def __post_init__(self) -> None:
        for kind, name, known in (
            ("attack", self.attack, list(attacks())),
            ("attribution", self.method, list(names(family("Attribution")))),
        ):
            if name not in known:
                raise ArgumentError(f"there is no {kind} {printable(str(name))}; choose one of {', '.join(known)}.")
        if isinstance(self.eps, bool) or not isinstance(self.eps, int | float) or not 0 <= self.eps <= LEVELS:
            raise ArgumentError(f"the size {self.eps} is out of range; choose one from 0 to {LEVELS}, in 8-bit levels.")
        whole_steps(self.steps, self.most_steps)

    def of(self, network: NamedNetwork) -> Attack:
        """Return the attack for a network: its size in the network's own units."""
        takes = "steps" in settings_of(names(family("Attack"))[self.attack])
        steps = int(self.steps) if takes else None
        attack = attack_of(self.attack, steps=steps, bounds=network.bounds)
        entries = len(network.classifier.space.mean) * network.classifier.image_size**2
        return sized(attack, self.eps, network.classifier, entries)


def attacks() -> dict[str, str]:
    """Return what `gradsculpt list` has of attacks: a line on each, by its name."""
    return {name: summary(cls) for name, cls in names(family("Attack")).items()}


def _told(score: Score, value: float, name: str) -> str:
    """Return what a value of a score says, its name, and which direction is better."""
    return f"{sentence(score, value).removesuffix('.')} ({name}; {direction(score)})."


class AttackMap:
    """The work of attacking the map of a picture.

    Args:
        picture: What is attacked.
        subjects: Whose maps, for each an attack of its own; one at least.
        settings: How.
        most: How many networks may be attacked at once.

    Raises: ArgumentError if there are no networks, or too many.
    """

    def __init__(self, picture: Picture, subjects: Sequence[Subject], settings: AttackSettings, most: int) -> None:
        if not 0 < len(subjects) <= most:
            raise ArgumentError(
                f"{counted(len(subjects), 'networks')} were chosen, and from 1 to {most} are attacked at once; choose "
                "some of them."
            )
        self._picture, self._subjects, self._settings = picture, subjects, settings

    def __call__(self, ticket: Ticket) -> Iterator[Step | Done[AttackedMaps]]:
        """Yield a step of each step of the attack, then the maps of all networks."""
        maps, size = list[AttackedMap](), ""
        for subject in self._subjects:
            made, size = yield from stage(self._attacked(ticket, subject), len(maps), len(self._subjects))
            maps.append(made)
        settings = self._settings
        yield Done(AttackedMaps(self._picture.title, settings.attack, settings.eps, settings.method, size, tuple(maps)))

    def _attacked(self, ticket: Ticket, subject: Subject) -> Generator[Step, None, tuple[AttackedMap, str]]:
        network = yield from subject.opening(ticket)
        classifier, settings = network.classifier, self._settings
        pixels = self._picture.at(classifier.image_size)
        images01 = pixels01(pixels[None], classifier.device)
        method, attack = attribution_for(settings.method, classifier), settings.of(network)
        label = [self._picture.label]
        wanted = settings.target or "predicted"
        probabilities = network.probabilities(images01)
        target = (
            probabilities.argmax(dim=1)
            if settings.target is None
            else target_classes(wanted, label, probabilities, classifier.classes)
        )

        def run(reporter: Reporter) -> tuple[dict[str, View], float | None]:
            if not isinstance(attack, Manipulation):
                reporter.say(f"attacking {subject.title}")
                return attacked_images(classifier, method, attack, images01, target)
            with reporter.work(f"attacking {subject.title}", unit="steps") as tell:
                return attacked_images(classifier, method, attack, images01, target, progress=tell)

        try:
            views, smooth_beta = yield from heard(ticket, run)
        except ModelError as error:
            raise ModelError(f"the maps of {subject.title} cannot be attacked: {error}") from error
        return _seen(subject.title, classifier, views, target, smooth_beta), in_words_of(attack, settings.eps)


def in_words_of(attack: Attack, eps: float) -> str:
    """Return in words how far an attack may move a picture, the size in 8-bit levels."""
    if _is_mean(attack):
        return f"the root mean square of the change of all colour values is at most {eps:g} of {LEVELS} levels"
    return f"no colour value may move by more than {eps:g} of {LEVELS} levels"


def unit_of(name: str) -> str:
    """Return in words what the size of an attack means, by its name.

    Example:
        >>> unit_of("targeted")
        'In levels of 255: no colour value moves further.'
    """
    attack = attack_of(name, steps=None, bounds=(torch.zeros(1), torch.ones(1)))
    whole = "the root mean square over all colour values is no larger"
    return f"In levels of {LEVELS}: {whole if _is_mean(attack) else 'no colour value moves further'}."


def _is_mean(attack: Attack) -> bool:
    """Whether the size of an attack is a root mean square, as `sized` has it."""
    return getattr(attack, "norm", None) == "l2" or getattr(attack, "kind", None) == "gaussian"


def _seen(
    title: str, classifier: Classifier, views: dict[str, View], target: torch.Tensor, smooth_beta: float | None
) -> AttackedMap:
    """Return what is shown of one network."""
    classes = [printable(name) for name in classifier.classes]
    before, after, rounded = (views[when] for when in ("before", "after", "rounded"))
    best = [view.probabilities.argmax(dim=1) for view in (before, after, rounded)]
    said = [predictions(view.probabilities, each, classes)[0] for view, each in zip(views.values(), best, strict=True)]
    answers = [Answer(each.called, each.probability) for each in said]
    return AttackedMap(
        network=title,
        target=in_words(classes[int(target[0])]),
        before=answers[0],
        after=answers[1],
        in_file=answers[2],
        kept=bool(best[0] == best[1]),
        image=plain(before.images)[0],
        attacked=plain(rounded.images)[0],
        change=difference(before.images, after.images)[0],
        factor=float(amplification(before.images, after.images)[0]),
        clean_map=before.maps[0].float().cpu().numpy(),
        attacked_map=after.maps[0].float().cpu().numpy(),
        scores=figures(views, TOP)[0],
        smooth_beta=smooth_beta,
    )
