"""The networks that are on offer, which are opened when they are wanted first, with their pictures."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradsculpt.cli.folder import numbered
from gradsculpt.cli.networks import open_classifier
from gradsculpt.cli.opened import NamedNetwork, open_run
from gradsculpt.errors import ArgumentError
from gradsculpt.extensions import trusted, typed_modules
from gradsculpt.progress import Reporter
from gradsculpt.runs import is_run
from gradsculpt.viewer import work
from gradsculpt.viewer.pictures import Picture, photographs, pictures_of
from gradsculpt.wording import printable

if TYPE_CHECKING:
    from gradsculpt.viewer.work import Step, Ticket

Open = Callable[[Reporter], NamedNetwork]
Pictures = Callable[[NamedNetwork, Reporter], Sequence[Picture]]


class Subject:
    """A network on offer, and the pictures that go with it; both are had when they are wanted first.

    Args:
        key: What it goes by within the page, unlike all others.
        title: What it is called.
        opened: Opens the network, and tells of what takes long.
        pictures: Finds its pictures.
        run: Its run directory, if it has one.
    """

    def __init__(self, key: str, title: str, opened: Open, pictures: Pictures, run: Path | None = None) -> None:
        self.key, self.title, self.run = key, title, run
        self._opened, self._pictures, self._lock = opened, pictures, threading.RLock()
        self._trusted = typed_modules()  # by who opens the page; the threads of visitors know nothing of it
        self._network: NamedNetwork | None = None
        self._images: tuple[Picture, ...] | None = None

    @property
    def network(self) -> NamedNetwork:
        """The network, as `gradsculpt explain` opens it: in eval mode, on its device. Raises as opening it does."""
        return self._open(Reporter())

    @property
    def images(self) -> tuple[Picture, ...]:
        """Pictures of its data. Raises `GradsculptError` if there are none."""
        return self._show(Reporter())

    @property
    def is_open(self) -> bool:
        """Whether it was opened, so that it is there at once."""
        return self._network is not None

    def opening(self, ticket: Ticket) -> Generator[Step, None, NamedNetwork]:
        """Yield what is done to open the network, and return it."""
        if self._network is None:
            yield work.Step(f"opening {self.title}")
            yield from work.heard(ticket, self._open)
        return self.network

    def showing(self, ticket: Ticket) -> Generator[Step, None, tuple[Picture, ...]]:
        """Yield what is done to find the pictures, and return them."""
        if self._images is None:
            yield from self.opening(ticket)
            yield work.Step(f"looking for pictures of {self.title}")
            yield from work.heard(ticket, self._show)
        return self.images

    def _open(self, reporter: Reporter) -> NamedNetwork:
        with self._lock, trusted(self._trusted):
            if self._network is None:
                network = self._opened(reporter)
                # Whatever runs the network then stops within one pass when its visitor cancels it.
                network.classifier.network.register_forward_pre_hook(work.check_here)
                self._network = network
            return self._network

    def _show(self, reporter: Reporter) -> tuple[Picture, ...]:
        with self._lock, trusted(self._trusted):
            if self._images is None:
                self._images = tuple(self._pictures(self._open(reporter), reporter))
            return self._images


class Subjects:
    """All networks on offer, in their order, by their keys; the runs of trainings are added."""

    def __init__(self, subjects: Iterable[Subject] = (), options: Mapping[str, Any] | None = None) -> None:
        self._subjects = {subject.key: subject for subject in subjects}
        self._options = dict(options or {})
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Subject]:
        return iter(list(self._subjects.values()))

    def __len__(self) -> int:
        return len(self._subjects)

    def __getitem__(self, key: str) -> Subject:
        if key not in self._subjects:
            raise ArgumentError("there is no such network any more; reload the page, and choose another.")
        return self._subjects[key]

    @property
    def options(self) -> Mapping[str, Any]:
        """What the page was opened with, as of `named_subjects`."""
        return self._options

    @property
    def choices(self) -> list[tuple[str, str]]:
        """Titles and keys, in their order."""
        return [(subject.title, subject.key) for subject in self]

    @property
    def runs(self) -> list[Subject]:
        """Those that are runs."""
        return [subject for subject in self if subject.run is not None]

    def chosen(self, keys: Sequence[str]) -> list[Subject]:
        """Return subjects by keys; raise `ArgumentError` if there are none."""
        if not keys:
            raise ArgumentError("no network is chosen; choose one at least.")
        return [self[key] for key in dict.fromkeys(keys)]

    def add_run(self, path: Path) -> Subject:
        """Put another run on offer, and return it; its title is its folder's name, with a number if that is taken."""
        with self._lock:
            taken = [subject.title for subject in self._subjects.values()]
            title = numbered([*taken, printable(path.resolve().name)])[-1]
            subject = of_run(f"{len(self._subjects)}", title, path, self._options)
            self._subjects[subject.key] = subject
            return subject


def of_run(key: str, title: str, path: Path, options: Mapping[str, Any]) -> Subject:
    """Return the subject of a run directory; options are those of `named_subjects`."""
    # A run that keeps no images has none written into it.
    place = None if (path / "cache").is_dir() else options["cache_dir"]
    data = {**options, "cache_dir": place}
    return Subject(
        key,
        title,
        lambda reporter: open_run(path, options["device"]),
        lambda network, reporter: pictures_of(network, data, reporter),
        path,
    )


def named_subjects(names: Sequence[str], options: Mapping[str, Any]) -> Subjects:
    """Return the subjects of runs and of networks by name, in the order of their names.

    Args:
        names: As `gradsculpt explain` takes them.
        options: `weights`, `mean`, `std`, `image_size` and `device` for networks by name; `data`, `data_dir`, `out` and
            `cache_dir` for their pictures.

    Raises: ArgumentError if there are not as many weights as networks that need some.
    """
    from gradsculpt.cli.networks import check_weights_fit

    given = check_weights_fit(names, options)
    titles = numbered(printable(Path(name).resolve().name if is_run(name) else name) for name in names)
    made = []
    for i, (name, title, its) in enumerate(zip(names, titles, given, strict=True)):
        if is_run(name):
            made.append(of_run(str(i), title, Path(name), options))
        else:
            made.append(_by_name(str(i), title, name, its, options))
    return Subjects(made, options)


def _by_name(key: str, title: str, name: str, given: Mapping[str, Any], options: Mapping[str, Any]) -> Subject:
    def pictures(network: NamedNetwork, reporter: Reporter) -> Sequence[Picture]:
        at_hand = photographs() if options["data"] is None else ()
        return at_hand or pictures_of(network, options, reporter)

    shown = title.partition("=")[0].rpartition(":")[2] or title
    return Subject(key, shown, lambda reporter: open_classifier(name, **given, device=options["device"]), pictures)
