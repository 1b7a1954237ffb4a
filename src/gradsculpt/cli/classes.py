"""Which of a network's classes the classes of other people's data stand for: by name, by WordNet number, or as told."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from gradsculpt.cli.class_pairs import Asked
from gradsculpt.errors import ArgumentError, did_you_mean
from gradsculpt.models import imagenet_classes
from gradsculpt.models.imagenet import wordnet
from gradsculpt.wording import printable

_NEAR, _TOLD = 5, 8
_RANGE = re.compile(r"(\d+)(?:\s*-\s*(\d+))?")


@dataclass(frozen=True)
class Vocabulary:
    """What a network calls its classes: names that are equal but for case, _ and -, and, of ImageNet's, all others.

    Args:
        numbered: Whether the numbers of the outputs may be written for the classes.
    """

    classes: tuple[str, ...]
    numbered: bool = True

    @property
    def nameless(self) -> bool:
        """Whether the classes are but the numbers of the outputs."""
        return self.classes == tuple(map(str, range(len(self.classes))))

    @cached_property
    def _numbers(self) -> tuple[str, ...]:
        """The WordNet numbers of the classes, if they are ImageNet's."""
        return tuple(wordnet()) if self.classes == imagenet_classes() else ()

    @cached_property
    def aliases(self) -> Mapping[str, tuple[int, ...]]:
        """The classes that have a name, as `_key` makes it."""
        table: dict[str, dict[int, None]] = {}
        for i, name in enumerate(self.classes):
            for alias in (name, *(_others(name)), *(_others(self._numbers[i]) if self._numbers else ())):
                table.setdefault(_key(alias), {})[i] = None
        return {alias: tuple(places) for alias, places in table.items()}

    @cached_property
    def _spelled(self) -> tuple[Mapping[str, list[int]], Mapping[str, list[int]]]:
        """The classes of a name as it stands, and as `_key` makes it."""
        exact, alike = dict[str, list[int]](), dict[str, list[int]]()
        for i, name in enumerate(self.classes):
            exact.setdefault(name, []).append(i)
            alike.setdefault(_key(name), []).append(i)
        return exact, alike

    def places(self, name: str, *others: str) -> tuple[int, ...]:
        """Return the classes of a name: one if it is theirs as it stands, or else all that have it, or others of it.

        Of several names, the class that has them all goes before those that have one.
        """
        exact, alike = self._spelled
        for spelled in (exact.get(name, ()), alike.get(_key(name), ()), self.namesakes(name)):
            if len(spelled) == 1:
                return tuple(spelled)
        sets = [set(places) for other in (name, *others) if (places := self.namesakes(other))]
        return tuple(sorted(set.intersection(*sets) or set.union(*sets))) if sets else ()

    def namesakes(self, name: str) -> tuple[int, ...]:
        """Return all classes that are called so."""
        return self.aliases.get(_key(name), ())

    def chosen(self, text: str) -> tuple[int, ...]:
        """Return the classes that a user names: by a name, a number, a range of them, or several after commas.

        It raises `ArgumentError` if a name is not clear, and returns none if one is not known.
        """
        if places := self.places(text):
            if len(places) > 1:
                raise ArgumentError(f"{text} is a name of {self._told(places)}; write which, by its number.")
            return places
        if match := _RANGE.fullmatch(text.strip()):
            first, last = int(match[1]), int(match[2] or match[1])
            return tuple(range(first, last + 1)) if self.numbered and first <= last < len(self.classes) else ()
        parts = [part.strip() for part in text.split(",") if part.strip()]
        several = [self.chosen(part) for part in parts] if len(parts) > 1 else []
        return tuple(dict.fromkeys(i for places in several for i in places)) if all(several) else ()

    def near(self, name: str) -> list[str]:
        """Return the classes that may be meant: those with the word in a name, or else those with a name like it."""
        word = re.compile(rf"\b{re.escape(_key(name))}s?\b")
        places = [i for alias, found in self.aliases.items() if word.search(alias) for i in found]
        names = list(dict.fromkeys(self.classes[i] for i in sorted(set(places))))[:_NEAR]
        if names:
            return names
        hint = did_you_mean(_key(name), {alias: self.classes[found[0]] for alias, found in self.aliases.items()}, 3)
        return list(dict.fromkeys(hint.removeprefix(" Did you mean ").removesuffix("?").split(" or "))) if hint else []

    def _told(self, places: Iterable[int]) -> str:
        return " and ".join(f"{self.classes[i]} ({i})" for i in places)


def _key(name: str) -> str:
    """Return a name without what people write in different ways: case, accents' coding, underscores and dashes."""
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFC", name)).strip().casefold()


def _others(name: str) -> tuple[str, ...]:
    """Return what else a class of that name is called: each name of a list, and those of a WordNet number."""
    listed = [part for part in name.split(",") if part.strip()]
    number = name.strip().casefold()
    return (
        *(listed if len(listed) > 1 else ()),
        *((number, *wordnet()[number]) if number in wordnet() else ()),
    )


@dataclass(frozen=True)
class ClassMap:
    """What the classes of data are to one network: for each the places of the classes that it stands for.

    Args:
        names: The classes of the data; of photographs without classes, one without a name that stands for all.
        members: For each the classes of the network; none for what is left out.
        classes: The network's.
        notes: What a user should know of how names were understood.
    """

    names: tuple[str, ...]
    members: tuple[tuple[int, ...], ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def single(self) -> bool:
        """Whether each stands for one class at most, so that no look at the network is needed."""
        return all(len(places) <= 1 for places in self.members)

    def told(self) -> dict[str, list[str]]:
        """Return the classes that each stands for, of those that are called otherwise."""
        named = {name: [self.classes[i] for i in places] for name, places in zip(self.names, self.members, strict=True)}
        return {name: stands for name, stands in named.items() if stands and stands != [name]}

    def sentence(self) -> str:
        """Return `told` in words, of the first few; empty if all are called alike."""
        pairs = [f"{name} = {_some(stands, ' or ')}" for name, stands in self.told().items()]
        return _some(pairs, "; ")


def unlabelled(classes: Sequence[str]) -> ClassMap:
    """Return the map of photographs without classes: any class of the network may be theirs."""
    return ClassMap(("",), (tuple(range(len(classes))),), tuple(classes))


def class_maps(
    networks: Mapping[str, Sequence[str]], names: Sequence[str], typed: Asked, file: Asked, *, skip: bool = False
) -> dict[str, ClassMap]:
    """Return what the classes of data are to each network; those that one lacks are left out for all with `skip`.

    Args:
        networks: The classes of each network, by its name.
        names: The classes of the data.
        typed: What was typed for some of them; another name than one of the data's is an error.
        file: What a file says; it may be about more data than these.
        skip: Leave a class out that a network lacks, instead of refusing it.

    Raises:
        ArgumentError: If a network has no class for one of the data, or it is not clear which, or one that is named is
            no class of any network, or no class is left.
    """
    # Beside a network of other classes, a number is of those that have no names: it would mean two things.
    several = len({tuple(classes) for classes in networks.values()}) > 1
    words = {name: Vocabulary(tuple(classes)) for name, classes in networks.items()}
    words = {name: replace(each, numbered=each.nameless or not several) for name, each in words.items()}
    asked = _asked_of(names, typed, file)
    for name, values in asked.items():
        for value in values:
            if not any(vocabulary.chosen(value) for vocabulary in words.values()):
                raise ArgumentError(_unknown_value(name, value, words))
    maps = {network: _map(network, vocabulary, names, asked, skip) for network, vocabulary in words.items()}
    kept = [all(each.members[i] for each in maps.values()) for i in range(len(names))]
    if not any(kept):
        raise ArgumentError(
            f"none of the {len(names)} classes of the data ({_some(names)}) is one of {' and '.join(networks)}, so "
            "nothing is left to score; say which they are with --classes FOLDER=CLASS or --class-map FILE."
        )
    return {
        network: ClassMap(
            each.names,
            tuple(places if keep else () for places, keep in zip(each.members, kept, strict=True)),
            each.classes,
            each.notes,
        )
        for network, each in maps.items()
    }


def _asked_of(names: Sequence[str], typed: Asked, file: Asked) -> dict[str, tuple[str, ...]]:
    """Return what is asked for each class of the data: as typed, or else as a file says."""
    by_key = {_key(name): name for name in reversed(names)}

    def owner(name: str) -> str | None:
        return printable(name) if printable(name) in names else by_key.get(_key(name))

    if (strange := next((name for name in typed if owner(name) is None), None)) is not None:
        raise ArgumentError(
            f"--classes {strange}={','.join(typed[strange])} names no class of the data, which are {_some(names)}."
            f"{did_you_mean(strange, list(names), 3)}"
        )
    asked = [(owner(name), values) for name, values in [*file.items(), *typed.items()]]
    if file and not any(name is not None for name, _ in asked):
        raise ArgumentError(
            f"--class-map names none of the classes of the data, which are {_some(names)}; its first is "
            f"{next(iter(file))}. Write the names of the folders first, and those of the network after them."
        )
    return {name: values for name, values in asked if name is not None}


def _map(
    network: str, vocabulary: Vocabulary, names: Sequence[str], asked: Mapping[str, tuple[str, ...]], skip: bool
) -> ClassMap:
    members, notes, unknown = list[tuple[int, ...]](), list[str](), list[str]()
    asked = {name: values for name, values in asked.items() if not values or any(map(vocabulary.chosen, values))}
    if vocabulary.nameless and not any(asked.values()) and len(names) == len(vocabulary.classes):
        if tuple(names) != vocabulary.classes:
            notes.append(f"{network} does not name its outputs: they are taken for {_some(names)}, in this order")
        members = [() if asked.get(name) == () else (i,) for i, name in enumerate(names)]
        return ClassMap(tuple(names), tuple(members), tuple(names), tuple(notes))
    if not asked and tuple(names) == vocabulary.classes:
        return ClassMap(tuple(names), tuple((i,) for i in range(len(names))), vocabulary.classes)
    for name in names:
        values = asked.get(name)
        if values == ():
            members.append(())
            continue
        chosen = tuple(dict.fromkeys(i for value in values or () for i in vocabulary.chosen(value)))
        places = chosen or vocabulary.places(name, *_others(name))
        if len(places) > 1 and not chosen:
            raise ArgumentError(
                f"{name} could be {vocabulary._told(places)} of {network}, so its photos cannot be scored; write "
                f"which, as in --classes {name}={places[0]}, or {name}={','.join(map(str, places))} for any of them."
            )
        if not chosen and len(also := vocabulary.namesakes(name)) > 1:
            others = vocabulary._told(i for i in also if i not in places)
            notes.append(f"{name} is taken for {vocabulary._told(places)} of {network}; {others} is called so too")
        if not places:
            unknown.append(name)
        members.append(places)
    if unknown and not skip:
        raise ArgumentError(_unmapped(network, vocabulary, unknown, len(names)))
    return ClassMap(tuple(names), tuple(members), vocabulary.classes, tuple(notes))


def _unmapped(network: str, vocabulary: Vocabulary, unknown: Sequence[str], total: int) -> str:
    name, count = unknown[0], len(vocabulary.classes)
    others = f", nor are {len(unknown) - 1} more of the {total} classes of the data" if len(unknown) > 1 else ""
    whose = "their" if others else "its"
    fact = f"{name} is none of the {count} classes of {network}{others}, so {whose} photos cannot be scored"
    if vocabulary.nameless:
        return (
            f"{fact}: it does not name its outputs, which are numbered 0 to {count - 1}; write which are meant, as in "
            f"--classes {name}=0, or --class-map FILE."
        )
    near = vocabulary.near(name)
    nearest = f"the nearest are {_some(near)}" if near else f"its classes are {_some(vocabulary.classes)}"
    first = _quoted(near[0]) if near else "CLASS"
    return (
        f"{fact}; {nearest}. Write --classes {_quoted(name)}={first} (or several, with commas), --class-map "
        "FILE for many, or --skip-unknown to leave them out."
    )


def _unknown_value(name: str, value: str, words: Mapping[str, Vocabulary]) -> str:
    if _RANGE.fullmatch(value) and not any(each.numbered for each in words.values()):
        return (
            f"{value}, which {name} is to stand for, is another class in each of {' and '.join(words)}; write the name "
            "of the class, once for each network where they differ."
        )
    alike = (each for vocabulary in words.values() for each in vocabulary.near(value))
    near = [] if _RANGE.fullmatch(value) else list(dict.fromkeys(alike))[:_NEAR]
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    sizes = " or ".join(f"{network} (0 to {len(each.classes) - 1})" for network, each in words.items())
    return f"{value}, which {name} is to stand for, is no class of {sizes}; write a name or number of one.{hint}"


def _quoted(name: str) -> str:
    return f"'{name}'" if " " in name else name


def _some(names: Iterable[str], between: str = ", ") -> str:
    listed = list(names)
    more = f"{between}and {len(listed) - _TOLD} more" if len(listed) > _TOLD else ""
    return between.join(listed[:_TOLD]) + more
