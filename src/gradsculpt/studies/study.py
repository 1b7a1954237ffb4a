"""A study: what is trained, measured and shown, as its file says, at one of four scales."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gradsculpt.errors import ArgumentError, did_you_mean
from gradsculpt.reading import SETTINGS, composed, constructed, read_text
from gradsculpt.studies.schema import SCALES, START, check, check_plain, rows_of, scores_of

SHIPPED = Path(__file__).with_name("shipped")

_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
_OF = "of"


@dataclass(frozen=True)
class Measure:
    """Something that is measured: a command or an experiment, with its settings, and of which networks."""

    kind: str
    settings: Mapping[str, Any]
    networks: tuple[str, ...] | None


@dataclass(frozen=True)
class Row:
    """A row of the table: a network, and what is set otherwise for it, by measure."""

    network: str | None
    settings: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Column:
    """A column of the table: a score of a measure, times a scale, and what was published, by row."""

    measure: str
    score: str
    scale: float = 1.0
    published: Mapping[str, float | str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The score as figures and claims name it."""
        return f"{self.measure}.{self.score}"


@dataclass(frozen=True)
class Study:
    """A study at a scale.

    Args:
        name: Its name, that of its file.
        scale: The scale.
        content: The parts of the file, with what is otherwise at this scale.
    """

    name: str
    scale: str
    content: Mapping[str, Any]

    @property
    def title(self) -> str:
        """What it is about, in a line."""
        return str(self.content["title"])

    @property
    def source(self) -> str:
        """Where the published numbers and settings stand."""
        return str(self.content["source"])

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that every network is trained with."""
        return tuple(self.content.get("seeds", (0,)))

    @property
    def networks(self) -> dict[str, dict[str, Any]]:
        """What each network is trained with: the settings of all, and its own over them; recipes are joined.

        Under `start` stands what it is trained by first, in the same way, where it does not start from random weights.
        """
        common: Mapping[str, Any] = self.content.get("train", {})
        return {name: _joined(common, own or {}) for name, own in self.content.get("networks", {}).items()}

    @property
    def measures(self) -> dict[str, Measure]:
        """What is measured, by name."""
        return {name: _measure(each) for name, each in self.content.get("measure", {}).items()}

    @property
    def rows(self) -> dict[str, Row]:
        """All rows of the table, those that are not run at this scale too."""
        given: Mapping[str, Any] = self.content.get("rows") or {name: {"network": name} for name in self.networks}
        return {name: _row(each or {}) for name, each in given.items()}

    @property
    def run_rows(self) -> tuple[str, ...]:
        """The rows that are run at this scale."""
        only = self.content.get("only")
        return tuple(name for name in self.rows if only is None or name in only)

    @property
    def columns(self) -> dict[str, Column]:
        """The columns of the table, by heading."""
        return {heading: _column(each) for heading, each in self.content.get("table", {}).items()}

    @property
    def claims(self) -> list[dict[str, Any]]:
        """What the source says, to be tested."""
        return list(self.content.get("claims", ()))

    @property
    def figures(self) -> dict[str, dict[str, Any]]:
        """What is drawn, by name: a figure by its class, and its settings."""
        return dict(self.content.get("figures", {}))

    @property
    def remarks(self) -> str:
        """What somebody who looked at the results at this scale has to say of them; empty if nobody has."""
        told: Mapping[str, str] = self.content.get("remarks", {})
        return str(told.get(self.scale) or "").strip()

    @property
    def departures(self) -> list[str]:
        """Where it departs from the source, in sentences."""
        told: Mapping[str, Sequence[str]] = self.content.get("departs", {})
        return [*(told.get("all") or ()), *(told.get(self.scale) or ())]


def names() -> list[str]:
    """Return the names of the studies that come with the package."""
    return sorted(file.stem for file in SHIPPED.glob("*.yaml"))


def is_own(name: str) -> bool:
    """Tell the file of a study from the name of one that comes with the package."""
    return Path(name).suffix in (".yaml", ".yml")


def read(name: str, scale: str = "paper") -> Study:
    """Return a study by name, or from a file of your own, at a scale; raise `ArgumentError` if it is none."""
    if scale not in SCALES:
        raise ArgumentError(f"--scale {scale} is not known; choose from {', '.join(SCALES)}.")
    path = Path(name) if is_own(name) else SHIPPED / f"{name}.yaml"
    if not is_own(name) and name not in names():
        raise ArgumentError(
            f"there is no study {name!r}.{did_you_mean(name, names())} gradsculpt study list names them."
        )
    content = _read(path)
    check_plain(content, str(path))
    scales = {} if content.get("scales") is None else content["scales"]
    content = {key: value for key, value in content.items() if key != "scales"}
    if not isinstance(scales, dict) or not all(isinstance(each, dict | None) for each in scales.values()):
        raise ArgumentError(f"{path}: scales is no mapping of smoke, cpu, gpu and paper to what is otherwise there.")
    if unknown := scales.keys() - set(SCALES):
        raise ArgumentError(
            f"{path}: scales has {min(map(str, unknown))}, which is none; the scales are {', '.join(SCALES)}."
        )
    content = merged(content, scales.get(scale) or {})
    check(content, str(path))
    stem = path.stem
    if not _NAME.fullmatch(stem):
        raise ArgumentError(f"{path} cannot be a study's name; call it by small letters, digits and dashes.")
    study = Study(stem, scale, content)
    _check_names(study, str(path))
    return study


def merged(old: Any, new: Any) -> Any:
    """Return what a scale makes of a part of a file: mappings are merged, None removes, all else replaces.

    Example:
        >>> merged({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": None, "e": 4}})
        {'a': {'c': 2, 'e': 4}, 'd': 3}
    """
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        return new
    both = {**old, **{key: merged(old.get(key), value) for key, value in new.items()}}
    return {key: value for key, value in both.items() if not (key in new and value is None)}


def _read(path: Path) -> dict[str, Any]:
    try:
        node = composed(read_text(path, SETTINGS))
        twice, content = _twice(node, set()), constructed(node)
    except OSError as error:
        raise ArgumentError(f"{path} cannot be read ({error.strerror or error}); pass the file of a study.") from error
    except ValueError as error:
        raise ArgumentError(f"{path} is no YAML of a study ({error}); mend it there.") from error
    if not isinstance(content, dict):
        raise ArgumentError(f"{path} holds no study; a study has a title, a source and what is measured.")
    if twice:
        raise ArgumentError(f"{path}, line {twice[1]}: {twice[0]} stands here again, and only one would count.")
    return content


def _twice(node: Any, seen: set[int]) -> tuple[str, int] | None:
    """Return a name that stands twice in one mapping of a file, and the line where it does again."""
    import yaml

    if not isinstance(node, yaml.CollectionNode) or id(node) in seen:
        return None
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        return next((found for item in node.value if (found := _twice(item, seen))), None)
    names = set[str]()
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value in names:
            return key.value, key.start_mark.line + 1
        names.add(str(key.value))
        if found := _twice(value, seen):
            return found
    return None


def _check_names(study: Study, place: str) -> None:
    """Raise `ArgumentError` where a part names a network, a row or a measure that is not there."""
    measures, networks, rows = study.measures, study.networks, study.rows

    def find(what: str, name: Any, known: Sequence[str] | Mapping[str, Any], where: str) -> None:
        if not isinstance(name, str) or name not in known:
            hint = did_you_mean(str(name), list(known))
            raise ArgumentError(
                f"{place}: {where} names the {what} {name!r}, which the study does not have.{hint} "
                f"It has {', '.join(known) or 'none'}."
            )

    for name, measure in measures.items():
        for network in measure.networks or ():
            find("network", network, networks, f"measure.{name}.of")
    for name, row in rows.items():
        if row.network is not None:
            find("network", row.network, networks, f"rows.{name}")
        for measure_name in row.settings:
            find("measure", measure_name, measures, f"rows.{name}")
    for name in study.content.get("only") or ():
        find("row", name, rows, "only")
    for name, content in study.figures.items():
        for kind, settings in content.items() if isinstance(content, Mapping) else ():
            for what, known in (("row", rows), ("network", networks)):
                for each in _listed(settings, f"{what}s"):
                    find(what, each, known, f"figures.{name}.{kind}.{what}s")
    for heading, column in study.columns.items():
        find("measure", column.measure, measures, f"table.{heading}")
        for name in column.published:
            find("row", name, rows, f"table.{heading}.published")
    for claim in study.claims:
        for name in rows_of(claim):
            find("row", name, rows, f"claims: {claim['says']}")
        for score in scores_of(claim):
            find("measure", score.partition(".")[0], measures, f"claims: {claim['says']}")


def _listed(settings: Any, key: str) -> list[Any]:
    given = settings.get(key) if isinstance(settings, Mapping) else None
    return given if isinstance(given, list) else []


def _joined(common: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    recipes = [each["recipe"] for each in (own, common) if each.get("recipe")]
    both = {key: value for key, value in {**common, **own}.items() if value is not None}
    if START in both:
        both[START] = _joined({key: value for key, value in common.items() if key != START}, both[START])
    return {**both, "recipe": "+".join(recipes)} if recipes else both


def _measure(content: Mapping[str, Any]) -> Measure:
    (kind,) = (key for key in content if key != _OF)
    of = content.get(_OF)
    return Measure(kind, dict(content[kind] or {}), None if of is None else tuple(of))


def _row(content: Mapping[str, Any]) -> Row:
    settings = {name: dict(each or {}) for name, each in content.items() if name != "network"}
    return Row(content.get("network"), settings)


def _column(content: Any) -> Column:
    given: Mapping[str, Any] = {"score": content} if isinstance(content, str) else content
    measure, _, score = given["score"].partition(".")
    return Column(measure, score, float(given.get("scale", 1.0)), dict(given.get("published") or {}))
