"""What the scores say in a few sentences: what was compared, what it gained, what it cost, and what is left open."""

from collections.abc import Sequence

from gradsculpt.evaluation import Scorecard
from gradsculpt.report.table import FEW, Group, Mark, Row
from gradsculpt.wording import counted

_ACCURACY = "accuracy"
"""The group and its first score, whose cost is named before any other."""

_TRUTH = "ground-truth"

_SANITY = "sanity"
"""The group in which a random map is as good as it gets: it depends on nothing, so not on what is taken away."""


def sentences(names: Sequence[str], cards: Sequence[Scorecard], groups: Sequence[Group]) -> list[str]:
    """Return the summary: of a comparison one sentence on what was compared, two on each run, and one on the limits.

    A group of scores counts once, however many scores it has: it is gained if some of them are better than those of the
    first run beyond chance, and none worse. Accuracy and calibration come first where they are paid with.
    """
    settings = cards[0].settings
    kind, _, place = str(settings.get("data") or "").partition(":")
    data = f" of the folder {place}" if kind == "folder" else f" of {settings['data']}" if kind else ""
    part = f" of the {settings['split']} part" if settings.get("split") else ""
    images = f"{counted(settings['images'], 'images')}{part}{data}"
    if len(cards) == 1:
        about = [f"{names[0]} was scored on {images}.", *_alone(cards[0], groups)]
    else:
        others = _listed(names[1:])
        about = [
            f"{others} {'was' if len(names) == 2 else 'were'} compared with {names[0]} on {images}; a difference "
            "counts only where the 95% intervals of the two do not overlap."
        ]
        for run, name in enumerate(names[1:], start=1):
            about += _beside(name, names[0], groups, run)
    return [*about, _open(cards, groups)]


def verdicts(groups: Sequence[Group], run: int) -> dict[str, set[Mark]]:
    """Return for every group that two runs share how a run differs from the first one, by the label of the group.

    Variants, which say the scores of a group again, count for nothing.
    """
    marks: dict[str, set[Mark]] = {}
    for group in groups:
        compared = [row.cells[run] for row in group.rows if row.better and row.cells[0] and row.cells[run]]
        if compared and not group.variant:
            marks[group.name] = {cell.mark for cell in compared if cell and cell.mark}
    return marks


def shortage(cards: Sequence[Scorecard]) -> list[str]:
    """Return what has to be said of scores over too few images to tell anything apart: nothing where there are more."""
    count = min(card.settings["images"] for card in cards)
    what = "to tell networks apart" if len(cards) > 1 else "to tell much"
    few = f"{counted(count, 'images')} {'is' if count == 1 else 'are'} too few {what}: take {FEW} or more."
    return [few] if count < FEW else []


def _beside(name: str, first: str, groups: Sequence[Group], run: int) -> list[str]:
    """Return what a run gained beside the first one, and what it cost."""
    found = verdicts(groups, run)
    about = [group for group in groups if group.name in found and not group.variant]
    maps = [group for group in about if group.name != _ACCURACY]
    gained = [
        *_answers(groups, run, "better"),
        *(_named(group, run, "better") for group in maps if found[group.name] == {"better"}),
    ]
    lost = [_named(group, run, "worse") for group in maps if found[group.name] == {"worse"}]
    mixed = [group.label for group in maps if len(found[group.name]) == 2]
    better = sum(found[group.name] == {"better"} for group in maps)
    share = f"better in {better} of {len(maps)} groups of scores of its maps" if better else ""
    gain = f"{name} gained {_listed(gained)}" if gained else f"{name} gained nothing that can be told from chance"
    gain += f": it is {share}" if share else ""
    gain += f", and both better and worse in {_listed(mixed)}" if mixed else ""
    costs = [*_answers(groups, run, "worse"), *lost]
    cost = f"It cost {_listed(costs)}" if costs else "It cost nothing that can be told from chance"
    if not any(each.startswith("accuracy (") for each in [*costs, *gained]):
        rows = [row for group in about if group.name == _ACCURACY for row in group.rows if row.name == _ACCURACY]
        for change in filter(None, (_change(row, run) for row in rows)):
            before, _, after = change.partition(" to ")
            cost += f"; accuracy {f'stayed at {before}' if before == after else f'went from {change}'}"
    return [f"{gain}.", f"{cost}."]


def _answers(groups: Sequence[Group], run: int, mark: Mark) -> list[str]:
    """Return in what the answers of a run, not its maps, are better or worse: accuracy, then calibration."""
    rows = [row for group in groups if group.name == _ACCURACY and not group.variant for row in group.rows]
    marked = [row for row in rows if (cell := row.cells[run]) and cell.mark == mark]
    accuracy = [f"accuracy ({_change(row, run)})" for row in marked if row.name == _ACCURACY]
    other = [f"{row.name} {_change(row, run)}" for row in marked if row.name != _ACCURACY]
    return [*accuracy, *([f"calibration ({', '.join(other)})"] if other else [])]


def _named(group: Group, run: int, mark: Mark) -> str:
    """Return a group with the first score of it that differs."""
    row = next(row for row in group.rows if (cell := row.cells[run]) and cell.mark == mark)
    return f"{group.label} ({row.name.partition(',')[0]} {_change(row, run)})"


def _change(row: Row, run: int) -> str:
    first, cell = row.cells[0], row.cells[run]
    return f"{first.mean} to {cell.mean}" if first and cell else ""


def _alone(card: Scorecard, groups: Sequence[Group]) -> list[str]:
    """Return how right a network is beside guessing, and in what its maps are better than those of noise."""
    about = []
    accuracy = card.entries.get(_ACCURACY)
    if accuracy:
        mean, guess = str(accuracy).partition(" ")[0], accuracy.chance
        beside = f", where always naming the most frequent class gives {100 * guess:.1f}%" if guess is not None else ""
        about.append(f"It is right on {mean} of them{beside}.")
    better: dict[str, list[bool]] = {}
    for entry in card.entries.values():
        if entry.random_map is not None and entry.score.better and entry.group != _SANITY:
            above = entry.low > entry.random_map if entry.score.better == "higher" else entry.high < entry.random_map
            better.setdefault(entry.group, []).append(above)
    labels = {group.name: group.label for group in groups if not group.variant}
    beats = [labels[name] for name, values in better.items() if name in labels and sum(values) > len(values) / 2]
    others = [labels[name] for name in better if name in labels and labels[name] not in beats]
    if beats or others:
        told = f"better than those of random maps in {_listed(beats)}" if beats else ""
        rest = f"no better than those of random maps in {_listed(others)}" if others else ""
        about.append(f"Most scores of its maps are {' and '.join(filter(None, (told, rest)))}.")
    return about


def _open(cards: Sequence[Scorecard], groups: Sequence[Group]) -> str:
    """Return what the numbers cannot say."""
    truth = any(group.name == _TRUTH for group in groups)
    training = "" if len(cards) == 1 else "whether a second training of each would differ in the same way, "
    reasons = (
        "nor how far the maps find what decides in images for which nobody knows it"
        if truth
        else "nor whether the maps show the true reasons, as nobody has marked these in the images"
    )
    return f"What the numbers cannot say: {training}how all this is on other images, {reasons}."


def _listed(words: Sequence[str]) -> str:
    """Return words in a row, the last one after "and"."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)
