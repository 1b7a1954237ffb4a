"""Class features: the pictures that raise a class's output the most, for networks beside each other."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradsculpt.cli.images import class_index
from gradsculpt.errors import ArgumentError
from gradsculpt.models.imagenet import in_words
from gradsculpt.progress import Reporter
from gradsculpt.report.meaning import percent
from gradsculpt.viewer.stages import stage, whole_steps
from gradsculpt.viewer.work import Done, Step, Ticket, heard
from gradsculpt.visualize import Ascent, ClassFeatures, class_features, plain
from gradsculpt.wording import counted, printable

if TYPE_CHECKING:
    from gradsculpt.viewer.subjects import Subject
    from gradsculpt.visualize.render import Picture as Pixels

STEPS = Ascent.steps
"""As many steps as `gradsculpt features` takes."""


@dataclass(frozen=True, eq=False)
class Feature:
    """The picture that a network takes for a class.

    Args:
        network: The network, by its title.
        called: The class, in words.
        picture: uint8 [S, S, 3].
        reached: The logit of the class for the picture.
        probability: The probability of the class for the picture, in [0, 1].
        steps: After how many steps.
    """

    network: str
    called: str
    picture: Pixels
    reached: float
    probability: float
    steps: int

    @property
    def sentences(self) -> tuple[str, ...]:
        """What is to be said of it."""
        return (
            f"The network is {percent(self.probability)} sure that this is {self.called} (logit {self.reached:.3g}), "
            f"after {counted(self.steps, 'steps')} from grey.",
        )


@dataclass(frozen=True)
class Features:
    """What networks take for classes: their pictures, network by network, and what could not be made."""

    features: tuple[Feature, ...]
    notes: tuple[str, ...] = ()


class Classes:
    """The work of finding the classes that some networks know: names by what they are called, in the first's order."""

    def __init__(self, subjects: Sequence[Subject]) -> None:
        self._subjects = subjects

    def __call__(self, ticket: Ticket) -> Iterator[Step | Done[tuple[tuple[str, str], ...]]]:
        """Yield steps, then pairs of what a class is called and its name, of all networks."""
        names: dict[str, str] = {}
        for subject in self._subjects:
            network = yield from subject.opening(ticket)
            names |= {name: in_words(printable(name)) for name in network.classifier.classes if name not in names}
        yield Done(tuple((called, name) for name, called in names.items()))


class Maximise:
    """The work of making class features.

    Args:
        subjects: For which networks; one at least.
        classes: Of which classes, by name or synonym; a network that does not know one makes none of it.
        steps: In how many steps.
        most: How many pictures may be made at once, over all networks.
        most_steps: How many steps may be taken.

    Raises: ArgumentError if nothing is chosen, or too much.
    """

    def __init__(
        self, subjects: Sequence[Subject], classes: Sequence[str], steps: float, *, most: int, most_steps: int
    ) -> None:
        if not subjects or not classes:
            raise ArgumentError(f"no {'class' if subjects else 'network'} is chosen; choose one at least.")
        self._classes = list(dict.fromkeys(classes))
        count = len(subjects) * len(self._classes)
        if count > most:
            raise ArgumentError(
                f"{counted(len(self._classes), 'classes')} for {counted(len(subjects), 'networks')} make {count} "
                f"pictures, and {most} are made at once; choose fewer."
            )
        self._subjects, self._ascent = list(subjects), Ascent(steps=whole_steps(steps, most_steps))

    def __call__(self, ticket: Ticket) -> Iterator[Step | Done[Features]]:
        """Yield a step of each step of the ascent, with the pictures of the networks that are done; then all."""
        made, notes = list[Feature](), list[str]()
        for place, subject in enumerate(self._subjects):
            features, note = yield from stage(self._of(ticket, subject), place, len(self._subjects))
            made += features
            notes += note
            if place + 1 < len(self._subjects):
                yield Step(f"{subject.title} is done", (place + 1) / len(self._subjects), Features(tuple(made)))
        if not made:
            raise ArgumentError(f"{' '.join(notes)} Choose classes that one of the networks knows.")
        yield Done(Features(tuple(made), tuple(notes)))

    def _of(self, ticket: Ticket, subject: Subject) -> Generator[Step, None, tuple[list[Feature], list[str]]]:
        network = yield from subject.opening(ticket)
        names = network.classifier.classes
        chosen, notes = dict[int, str](), list[str]()
        for name in self._classes:
            try:
                place = class_index(name, names, "the class")
                chosen.setdefault(place, in_words(printable(names[place])))
            except ArgumentError as error:
                notes.append(f"{subject.title}: {error}")
        if not chosen:
            return [], notes

        def run(reporter: Reporter) -> ClassFeatures:
            with reporter.work(f"pictures of {subject.title}", unit="steps") as tell:
                return class_features(network.classifier, list(chosen), ascent=self._ascent, progress=tell)

        images, reached = yield from heard(ticket, run)
        probabilities = network.probabilities(images)
        steps = self._ascent.steps
        features = [
            Feature(subject.title, called, picture, float(reached[i]), float(probabilities[i, place]), steps)
            for i, ((place, called), picture) in enumerate(zip(chosen.items(), plain(images), strict=True))
        ]
        return features, notes
