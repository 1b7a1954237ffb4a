"""The model card: what a network is, what its maps look like, what it scored, how it was trained, and its limits."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradsculpt.evaluation import SCORE_GROUPS, Scorecard
from gradsculpt.hub import HubName
from gradsculpt.report.summary import sentences, shortage
from gradsculpt.report.table import score_groups
from gradsculpt.runs import Reached
from gradsculpt.sharing.markdown import Ready, as_yaml, block, code, escaped

TEMPLATE = "card.md"

_SETS = {"cifar10": "uoft-cs/cifar10", "imagenette": "frgfm/imagenette"}
"""What sets of images are called on the Hub."""

_TAGS = ("gradsculpt", "image-classification", "saliency", "interpretability", "attribution")
_ACCURACY, _DIGITS = "accuracy", 6


@dataclass(frozen=True)
class Facts:
    """What a card is written from; nothing in it is of the machine that it was made on.

    Args:
        target: Where it goes.
        description: How the network is built, as its file has it.
        config: What it was trained with.
        reached: How far the training got; None where that is not known.
        card: Its scores, or None.
        why: Why there are no scores, to follow "not measured".
        maps: The file of the picture of its maps; "" if there is none.
        license: Under which terms it is shared, by the name that the Hub has for them; None if nobody said.
    """

    target: HubName
    description: Mapping[str, Any]
    config: Mapping[str, Any]
    reached: Reached | None
    card: Scorecard | None
    why: str
    maps: str
    license: str | None


def written(facts: Facts) -> str:
    """Return the card as Markdown, with the header that the Hub reads."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(  # noqa: S701 - it is no HTML: what is put in is escaped for Markdown, all of it
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        finalize=escaped,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"code": code, "block": block, "ready": Ready, "of_random": _random}
    description, config, reached = facts.description, facts.config, facts.reached
    build, extra, versions = (_mapping(description.get(key)) for key in ("build", "extra", "versions"))
    own = str(build["model"]).partition(":")
    module = own[2].partition(":")[0].partition(".")[0] if own[0] == "python" else ""
    softplus = f", Softplus of beta {build['softplus']:g} for ReLU" if build["softplus"] else ""
    return environment.get_template(TEMPLATE).render(
        header=Ready(f"---\n{as_yaml(header(facts))}---\n"),
        name=facts.target.name,
        hub=str(facts.target),
        trust=Ready(f" --trust-code {module}" if module.isidentifier() else ""),
        trusting=Ready(f', trust_code=["{module}"]' if module.isidentifier() else ""),
        unfinished=str(reached) if reached is not None and not reached.finished else "",
        classes=description["classes"],
        size=build["image_size"],
        network=f"{build['model']}{softplus}",
        mean=_numbers(description["mean"]),
        std=_numbers(description["std"]),
        maps=Ready(facts.maps),
        card=None if facts.card is None else _scores(facts.target.name, facts.card),
        why=facts.why,
        data=config.get("data", "not known"),
        objective=extra.get("objective") or "not known",
        recipe=extra.get("recipe") or config.get("recipe"),
        kept="not known" if reached is None else str(reached),
        seed=config.get("seed", 0),
        versions=", ".join(f"{name} {number}" for name, number in versions.items()),
        settings=dict(config),
        license=facts.license,
    )


def header(facts: Facts) -> dict[str, Any]:
    """Return what the Hub reads of a card: library, task, tags, license, data sets and scores."""
    data = str(facts.config.get("data", ""))
    told: dict[str, Any] = {"library_name": "gradsculpt", "pipeline_tag": "image-classification"}
    if facts.license is not None:
        told["license"] = facts.license
    told["tags"] = list(_TAGS)
    if data in _SETS:
        told["datasets"] = [_SETS[data]]
    if facts.card is None:
        return told
    values = {name: entry.mean for name, entry in facts.card.entries.items() if math.isfinite(entry.mean)}
    settings = facts.card.settings
    source, split = str(settings.get("data") or data or "images"), settings.get("split")
    if _ACCURACY in values:
        told["metrics"] = [_ACCURACY]
    return told | {
        "model-index": [
            {
                "name": facts.target.name,
                "results": [
                    {
                        "task": {"type": "image-classification", "name": "Image Classification"},
                        "dataset": {"type": _SETS.get(source, source), "name": source}
                        | ({"split": split} if split else {}),
                        "metrics": [
                            {"type": name, "name": name.replace("_", " "), "value": round(value, _DIGITS)}
                            for name, value in values.items()
                        ],
                    }
                ],
            }
        ],
    }


def _scores(name: str, card: Scorecard) -> dict[str, Any]:
    """Return what the card tells of a scorecard."""
    groups = score_groups([card])
    there = {group.name for group in groups}
    settings = card.settings
    return {
        "groups": groups,
        "summary": sentences([name], [card], groups),
        "warnings": [*filter(None, [card.warning]), *shortage([card])],
        "images": settings["images"],
        "source": " ".join(filter(None, (str(settings.get("data")), settings.get("split")))),
        "notes": list(settings.get("notes", ())),
        "missing": [cls.label for cls in SCORE_GROUPS if cls.short_name() not in there and cls.label],
    }


def _random(yardsticks: Sequence[tuple[str, str]]) -> str:
    return next((value for name, value in yardsticks if name == "random map"), "")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
