"""`gradsculpt sweep`."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradsculpt.cli.limits import at_least
from gradsculpt.cli.parser import Options, Parser, command_parser, typed
from gradsculpt.cli.process import prepare, result_console
from gradsculpt.cli.scoring import check_scored
from gradsculpt.cli.settings import OPTIMIZATION, SETTINGS, read_settings
from gradsculpt.cli.swept import OF_TASKS, assigned, corners, points, space, split
from gradsculpt.cli.tasks import Spelling, add_task_options, check_tasks, tried
from gradsculpt.errors import ArgumentError
from gradsculpt.progress import Reporter
from gradsculpt.runs import CONFIG
from gradsculpt.wording import counted

if TYPE_CHECKING:
    from gradsculpt.studies.plan import Plan
    from gradsculpt.studies.results import StoredResults
    from gradsculpt.studies.search import Space
    from gradsculpt.studies.study import Study
    from gradsculpt.studies.sweep import Choice, Judged, Rule, Setting

_TOLD = (
    "Train a recipe under many settings, and choose by the validation images: the best of one score, with another "
    "one near that of a baseline. By default, as local gradient alignment chose its weights: the steadiest maps (RPS) "
    "within a point of the accuracy of cross entropy alone. OUT gets a table, a plot and the settings chosen."
)
_EXAMPLES = (
    "gradsculpt sweep --recipe aga-l2-cos --grid objective.l2=.001,.01,.1 objective.cosine=.1,1",
    "gradsculpt sweep --list 'recipe=l1 lr=1e-3' recipe=group --best gini --groups accuracy sparsity",
    "gradsculpt sweep --recipe elastic-net --search 20 --grid objective.penalty.l1=1e-3..1:log",
)
_GROUPS = ("accuracy", "robustness-random:rps_levels=[16],draws=10")
_COMMON = ("data", "recipe", "model", "epochs")
_BASELINE = "objective=CrossEntropy"
_BEST, _SETTINGS = "best.yaml", "settings of a training"


def run(words: Sequence[str], reporter: Reporter) -> None:
    """Train under many settings, and say which is best."""
    options = _parser().read(words)
    check_tasks(options)
    from gradsculpt.studies.sweep import Rule

    rule = Rule(options["best"], options["of"], options["within"], options["least"])
    sweep = _Sweep(options, _common(words, options), rule, reporter, shlex.join(["gradsculpt", "sweep", *words]))
    if options["search"] is None:
        settings = points(options)
        sweep.check(settings)
        prepare()
        sweep.grid(settings)
    else:
        from gradsculpt.studies.search import check_installed

        check_installed()
        within = space(options)
        sweep.check(corners(within))
        prepare()
        sweep.search(within, options["search"])
    sweep.tell()


def _parser() -> Parser:
    parser = command_parser("sweep", _TOLD, _EXAMPLES)
    tried_told, judged, where = "what is tried", "how it is judged", "where, and on what"
    parser.headings, parser.dotted = (tried_told, judged, where, _SETTINGS), ("objective", "augment")
    told = "Values to try, each with each: lr=1e-3,1e-2; with --search also LOW..HIGH, LOW..HIGH:log."
    parser.add_argument("--grid", type=str, nargs="+", default=[], group=tried_told, help=told)
    told = "Settings to try, in place of a grid: 'objective.l2=.1 lr=1e-3'."
    parser.add_argument("--list", type=str, nargs="+", default=[], group=tried_told, help=told)
    told = "Try so many, each where others promise the most (extra gradsculpt[sweep])."
    parser.add_argument("--search", type=int | None, limit=at_least(1), group=tried_told, help=told)
    told = "Seeds of each; means over them decide."
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], limit=at_least(0), group=tried_told, help=told)
    told = "What the baseline's training has otherwise."
    parser.add_argument("--baseline", type=str, default=_BASELINE, group=tried_told, rare=True, help=told)
    parser.add_argument("--best", type=str, default="rps_cosine_16", group=judged, help="The score that is wanted.")
    told = "The score that must not suffer."
    parser.add_argument("--of", type=str, default="accuracy", group=judged, help=told)
    told = "How much worse than the baseline's it may be."
    limit = at_least(0.0, whole=False)
    parser.add_argument("--within", type=float, default=0.01, limit=limit, group=judged, help=told)
    told = "What it has to reach, whatever the baseline has."
    parser.add_argument("--least", type=float | None, group=judged, rare=True, help=told)
    told = "What is scored, as by `gradsculpt evaluate`; default accuracy and RPS."
    parser.add_argument("--groups", type=str, nargs="+", default=list(_GROUPS), group=judged, help=told)
    parser.add_argument(
        "--method", type=str, default="gradient", group=judged, rare=True, help="The maps that are scored."
    )
    told = "Score so many of the validation images, drawn at random."
    parser.add_argument("--limit", type=int | None, limit=at_least(1), group=judged, rare=True, help=told)
    add_task_options(parser, "sweep", "Folder of all results; what is done is found there again.")
    told = "YAML file of settings; flags override it, and it a recipe."
    parser.add_argument("--config", type=Path | None, group=_SETTINGS, rare=True, help=told)
    groups = dict.fromkeys(_takes(), _SETTINGS)
    parser.add_settings(SETTINGS, ["optimization", *OF_TASKS], groups, _COMMON)
    parser.add_settings(OPTIMIZATION, (), groups, _COMMON)
    return parser


def _takes() -> list[str]:
    from gradsculpt.cli.parts import settings_of
    from gradsculpt.cli.sources import value

    return [name for path in (SETTINGS, OPTIMIZATION) for name in settings_of(value(path))]


def _common(words: Sequence[str], options: Options) -> dict[str, Any]:
    """Return what is typed of all trainings, by setting; paths do not depend on the folder where it was typed."""
    takes, common = {*_takes(), "config"}, dict[str, Any]()
    for option in dict.fromkeys(typed(words)):
        name = option.removeprefix("--")
        if name.partition(".")[0] in takes and name not in ("data_dir", "threads", "device", "out"):
            common[name] = _anywhere(name, options[name])
    return common


def _anywhere(name: str, value: Any) -> Any:
    if name == "config":
        return str(value.absolute())
    kind, colon, path = str(value).partition(":")
    if name == "data" and colon and kind == "folder":
        return f"folder:{Path(path).absolute()}"
    return str(Path(value).absolute()) if name == "weights" and os.path.exists(str(value)) else value


class _Sweep:
    """Settings that are tried, and what is known of them.

    Args:
        options: As typed.
        common: What all trainings have in common.
        rule: What is wanted.
        reporter: Told how it goes.
        command: What was typed.
    """

    def __init__(
        self, options: Options, common: Mapping[str, Any], rule: Rule, reporter: Reporter, command: str
    ) -> None:
        self._options, self._common, self._rule = {**options, "data": None}, common, rule
        self._reporter, self._command = reporter, command
        self._rows: dict[str, Setting] = {}
        given = assigned("--baseline", split("--baseline", options["baseline"]))
        parts = {name.partition(".")[0] for name in given}
        dropped = [name for name in common if "." in name and name.partition(".")[0] in parts and name not in given]
        self._baseline: dict[str, str | None] = {**dict.fromkeys(dropped), **given}

    def check(self, points: Sequence[Setting]) -> None:
        """Raise an error if one of some settings cannot be trained with, or what is scored is not known."""
        from gradsculpt.studies.sweep import named

        if "recipe" in points[0] and "recipe" not in self._baseline:  # so that it is trained as they are
            self._baseline["recipe"] = points[0]["recipe"]
        self._rows = named(points)
        check_scored(self._options["groups"], self._options["method"])
        for task in self._plan().trainings.values():
            read_settings([*task.words, "--out", str(self._options["out"])])
        self._rows = {}

    def _evaluate(self) -> dict[str, Any]:
        given = {name: self._options[name] for name in ("groups", "method", "limit")}
        return {"split": "val", **{name: value for name, value in given.items() if value is not None}}

    def _study(self, answer: str = "") -> Study:
        from gradsculpt.studies.sweep import sweep_study

        seeds = list(dict.fromkeys(self._options["seeds"]))
        return sweep_study(self._common, self._rows, self._baseline, self._evaluate(), self._rule, seeds, answer)

    def _plan(self, answer: str = "") -> Plan:
        from gradsculpt.studies.plan import plan

        return plan(self._study(answer), Spelling({}))

    def _results(self, answer: str = "") -> StoredResults:
        from gradsculpt.studies.engine.store import Store
        from gradsculpt.studies.results import StoredResults

        return StoredResults(self._plan(answer), Store(self._options["out"].absolute()))

    def _try(self) -> None:
        """Train and score what is not done yet; settings that fail are left out, and said so."""
        tried(self._plan().tasks(), self._options, self._reporter)

    def _measure_baseline(self) -> None:
        from gradsculpt.studies.sweep import BASELINE, MEASURE, better, check_scores

        self._try()
        results = self._results()
        if not (cards := results.cards(BASELINE, MEASURE)):
            raise ArgumentError(
                "the baseline could not be trained or scored, as is told above, so nothing can be compared with it; "
                "mend that, or pass another --baseline."
            )
        check_scores(cards[0].entries, self._rule)
        for score in (self._rule.best, self._rule.of):
            better(results, BASELINE, score)

    def grid(self, points: Sequence[Setting]) -> None:
        """Try all settings."""
        from gradsculpt.studies.sweep import named

        self._measure_baseline()
        self._rows = named(points)
        self._reporter.say(f"{counted(len(self._rows), 'settings')}, {counted(len(self._options['seeds']), 'seeds')}")
        self._try()

    def search(self, space: Space, trials: int) -> None:
        """Try what a search asks for."""
        from gradsculpt.studies.search import search
        from gradsculpt.studies.sweep import BASELINE, better

        self._measure_baseline()
        direction = better(self._results(), BASELINE, self._rule.best)
        at_once = self._options["workers"] or 1
        search(space, trials, direction, self._judged, seed=min(self._options["seeds"]), at_once=at_once)

    def _judged(self, points: Sequence[Setting]) -> list[Judged | None]:
        from gradsculpt.studies.sweep import judge, named

        asked = [next(iter(named([point]))) for point in points]
        self._rows |= dict(zip(asked, points, strict=True))
        self._try()
        results = self._results()
        return [judge(results, self._rule, name) for name in asked]

    def tell(self) -> None:
        """Write the table, the plot and the settings that were chosen, and print what was."""
        from gradsculpt.studies import pages, tables
        from gradsculpt.studies.sweep import choose

        choice, out = choose(self._results(), self._rule, self._rows), self._options["out"]
        results = self._results(choice.told)
        written = pages.write(results, out, self._command, self._reporter.say)
        result_console().print(tables.markdown(results), markup=False, highlight=False, soft_wrap=True)
        result_console().print(choice.told, markup=False, highlight=False, soft_wrap=True)
        self._keep(choice, results, out)
        self._reporter.say(f"Written to {written[-1]}")

    def _keep(self, choice: Choice, results: StoredResults, out: Path) -> None:
        """Write the settings that were chosen as a file for `train --config`, in the place of an earlier choice."""
        from gradsculpt.files import whole

        best = out / _BEST
        if choice.row is None:
            best.unlink(missing_ok=True)
            return
        run = results.store.run(results.plan.trainings[choice.row, results.plan.study.seeds[0]].key)
        with whole(best) as draft:
            draft.write_bytes((run / CONFIG).read_bytes())
        self._reporter.say(f"Its settings are in {best}, and its run is {run}")
