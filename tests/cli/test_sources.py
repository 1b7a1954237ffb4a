"""What is read from the sources is what the imported classes say: every setting, default, type, name and range."""

import dataclasses
import inspect
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args, get_origin

import pytest

from gradsculpt.cli import known, limits
from gradsculpt.cli.grammar import alternatives
from gradsculpt.cli.main import COMMANDS
from gradsculpt.cli.parts import FAMILIES, family, hints_of, names
from gradsculpt.cli.sources import Made, Spelled, Standin, real, summary, told, value
from gradsculpt.data import SOURCES
from gradsculpt.errors import GradsculptError
from gradsculpt.evaluation import SCORE_GROUPS
from gradsculpt.metrics import METRICS
from gradsculpt.models import MODELS, PRETRAINED
from gradsculpt.models.networks import torchvision_names
from tests.test_settings import SETTINGS, make

HOMES = {cls: f"{cls.__module__}.{cls.__name__}" for cls in SETTINGS if cls.__module__.startswith("gradsculpt.")}

classes = pytest.mark.parametrize("cls", HOMES, ids=lambda cls: cls.__name__)


@classes
def test_a_stand_in_has_the_settings_and_the_defaults_of_the_class(cls: type) -> None:
    light = value(HOMES[cls])
    assert real(light) is cls
    assert summary(light) == (cls.__doc__ or "").strip().partition("\n")[0]
    theirs = inspect.signature(cls).parameters
    ours = inspect.signature(light).parameters
    assert [(name, each.kind) for name, each in ours.items()] == [(name, each.kind) for name, each in theirs.items()]
    made = {field.name: field.default_factory for field in dataclasses.fields(cls)}
    for name, each in theirs.items():
        default = each.default
        if name in made and made[name] is not dataclasses.MISSING:
            default = made[name]()  # type: ignore[operator]
        assert same_default(ours[name].default, default), name


def same_default(light: Any, heavy: Any) -> bool:
    if isinstance(light, Made):
        given = {name: getattr(heavy, name) for name in light.arguments}
        return real(light.target) is type(heavy) and all(map(same_default, light.arguments.values(), given.values()))
    if isinstance(light, tuple) and isinstance(heavy, tuple):
        return len(light) == len(heavy) and all(map(same_default, light, heavy))
    return bool(type(light) is type(heavy) and light == heavy) or (isinstance(light, Spelled) and light == repr(heavy))


@classes
def test_a_stand_in_has_the_types_of_the_class(cls: type) -> None:
    heavy = hints_of(cls)
    for name, hint in hints_of(value(HOMES[cls])).items():
        assert kinds(hint) == kinds(heavy[name]), name


def kinds(hint: Any) -> set[str]:
    """Return the types of a hint in words; of what is called, only that it is."""
    return {word for kind in alternatives(hint) for word in in_words(kind)}


def in_words(kind: Any) -> Iterator[str]:
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin is Literal:
        yield f"Literal{inner}"
    elif origin in (Callable, Any) or not inner or isinstance(origin, Standin):
        yield getattr(origin, "__name__", str(origin))
    elif origin.__module__.startswith("gradsculpt."):
        yield origin.__name__
    else:
        yield f"{origin.__name__}[{[sorted(kinds(each)) for each in inner if each is not Ellipsis]}]"


@pytest.mark.parametrize("cls", [cls for cls in HOMES if cls.__doc__ and "\nArgs:" in inspect.cleandoc(cls.__doc__)])
def test_what_is_told_of_settings_is_of_settings(cls: type) -> None:
    docs = told(value(HOMES[cls]))
    assert docs
    assert set(docs) <= set(inspect.signature(cls).parameters)
    assert all(docs.values())


FOUND = {cls: limits.limits(value(path)) for cls, path in HOMES.items()}
RANGES = [(cls, name, limit) for cls, ranges in FOUND.items() for name in ranges for limit in ranges[name]]


def test_ranges_are_found() -> None:
    named = {(cls.__name__, name) for cls, name, _ in RANGES}
    assert {("TrainSettings", "epochs"), ("TrainSettings", "clip"), ("Optimization", "lr")} <= named
    assert {("ElasticNet", "l1"), ("Iterative", "steps"), ("Smoothed", "samples")} <= named


@pytest.mark.parametrize(("cls", "name", "limit"), RANGES, ids=lambda each: getattr(each, "__name__", None))
def test_a_range_is_that_of_the_class(cls: Any, name: str, limit: limits.Limit) -> None:
    settings = make(cls)
    outside = limit.low if limit.open else limit.low - 1
    wrong = [int(outside) if limit.told.startswith("a whole") else outside]
    wrong += [max(limit.high + 1, math.nextafter(limit.high, math.inf))] if math.isfinite(limit.high) else []
    for each in wrong:
        assert not limit.holds(each)
        with pytest.raises(GradsculptError, match=r"out of range|not a share"):
            dataclasses.replace(settings, **{name: each})
    default = getattr(settings, name)
    assert default is None or not isinstance(default, int | float) or limit.holds(default)


def test_tables_are_those_of_the_packages() -> None:
    assert value("gradsculpt.models.MODELS") == MODELS
    assert value("gradsculpt.models.PRETRAINED") == PRETRAINED
    listed = [(made.arguments["name"], made.arguments["description"]) for made in value("gradsculpt.data.SOURCES")]
    assert listed == [(source.name, source.description) for source in SOURCES]
    metrics = [(metric.__name__, summary(metric)) for metric in value("gradsculpt.metrics.METRICS")]
    assert metrics == [(metric.name, metric.description) for metric in METRICS]
    assert list(names(family("ScoreGroup"))) == [group.short_name() for group in SCORE_GROUPS]
    assert known.torchvision_names() == sorted(torchvision_names())


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_family_has_the_members_of_its_tuple(kind: str) -> None:
    package, _, listed = FAMILIES[kind].rpartition(".")
    members = getattr(__import__(package, fromlist=[listed]), listed)
    assert [real(cls) for cls in value(FAMILIES[kind])] == list(members)
    base = real(family(kind))
    assert all(issubclass(cls, base) for cls in members)


def test_constants_are_those_of_the_modules() -> None:
    from gradsculpt.cli.scoring import FILE, VALUES
    from gradsculpt.evaluation import per_image_values, scorecard

    assert (FILE, VALUES) == (scorecard.FILE, per_image_values.VALUES)
    for path in ("gradsculpt.models.MODEL", "gradsculpt.inputs.Path"):
        with pytest.raises(LookupError):
            value(path)


@pytest.mark.parametrize("name", ["resnet50", "vit_b_16", "convnext_tiny.fb_in1k", "efficientnet_b0", "nonsense_net"])
def test_names_of_networks_are_known_as_their_packages_know_them(name: str) -> None:
    import timm

    there = {"torchvision": name in torchvision_names(), "timm": timm.is_model(name)}
    for package, expected in there.items():
        try:
            known.check_model(f"{package}:{name}", "--model")
            said = True
        except GradsculptError:
            said = False
        assert said == expected, package


def test_commands_import_nothing_heavy() -> None:
    modules = sorted(command.module for command in COMMANDS.values())
    code = f"import sys, importlib; [importlib.import_module(name) for name in {modules}]; "
    code += "print(sorted({'torch', 'numpy', 'jsonargparse', 'lightning', 'matplotlib'} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"
