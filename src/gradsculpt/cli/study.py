"""`gradsculpt study`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from gradsculpt.cli.known import check_out
from gradsculpt.cli.parser import Options, Parser, command_parser
from gradsculpt.cli.process import result_console
from gradsculpt.cli.study_pages import StudyPages
from gradsculpt.cli.tasks import (
    Spelling,
    add_data_copies,
    add_task_options,
    check_place,
    check_tasks,
    copies,
    getting_ready,
    perform_tasks,
)
from gradsculpt.errors import ArgumentError, did_you_mean
from gradsculpt.progress import Reporter
from gradsculpt.studies.schema import SCALES
from gradsculpt.wording import counted

if TYPE_CHECKING:
    from gradsculpt.studies.engine.job import Executor
    from gradsculpt.studies.plan import Plan
    from gradsculpt.studies.study import Study

_TOLD = (
    "The tables and figures of the papers. `list` names the studies, `show NAME` tells what one trains and measures, "
    "what was published, and what is done; `run NAME ...` does what is not done yet, and writes table, figures and a "
    "page into OUT/NAME/SCALE. A study of your own is a YAML file, named in the place of NAME."
)
_EXAMPLES = (
    "gradsculpt study run advgrad-table3 --scale cpu --workers 2",
    "gradsculpt study run aga-table1 --scale gpu --data cifar10=folder:photos --device cuda --workers 4",
    "gradsculpt study show moreau-robustness",
)
_ACTIONS = ("list", "run", "show")


def run(words: Sequence[str], reporter: Reporter) -> None:
    """List, show or run studies."""
    options = _parser().read(words)
    action, named = options["action"], options["names"] or []
    if action not in _ACTIONS:
        raise ArgumentError(
            f"gradsculpt study {action} is nothing that it does.{did_you_mean(action, _ACTIONS)} It does "
            f"{', '.join(_ACTIONS)}."
        )
    if action == "list":
        _list(named)
        return
    check_tasks(options)
    copies(options["data"])
    from gradsculpt.studies import study as studies

    if not named:
        raise ArgumentError(f"no study is named; gradsculpt study list names them, as in study {action} duality.")
    named = studies.names() if named == ["all"] else list(dict.fromkeys(named))
    chosen = {name: studies.read(name, options["scale"]) for name in named}
    called = [study.name for study in chosen.values()]
    if twice := next((name for name in called if called.count(name) > 1), None):
        raise ArgumentError(f"two of the studies are called {twice}, and one would replace the other; run one of them.")
    if action == "run":
        _run(chosen, options, reporter)
        return
    for study in chosen.values():
        _show(study, options)


def _parser() -> Parser:
    parser = command_parser("study", _TOLD, _EXAMPLES)
    parser.add_argument("action", type=str, help="list, run or show.")
    parser.add_argument("names", type=str, nargs="*", help="Studies by name, files of your own, or all.")
    scale = (
        "smoke: a minute, tells that it works; cpu: hours on two cores; gpu: 10 minutes on one card, or rows of it; "
    )
    parser.add_argument("--scale", type=str, choices=SCALES, default="smoke", help=f"{scale}paper: as published.")
    only = "Run these rows alone."
    parser.add_argument("--only", type=str, nargs="+", default=[], help=only)
    add_task_options(parser, "studies", "Folder of all results; what is done is found there again, by whatever study.")
    add_data_copies(parser)
    return parser


def _list(named: Sequence[str]) -> None:
    from gradsculpt.studies import study as studies

    if named:
        raise ArgumentError(f"study list takes no names; gradsculpt study show {named[0]} tells of one.")
    names = studies.names()
    width = max(map(len, names), default=0)
    for name in names:
        study = studies.read(name)
        line = f"{name:<{width}}  {study.title} ({study.source})"
        result_console().print(line, markup=False, highlight=False, soft_wrap=True)


def _run(chosen: Mapping[str, Study], options: Options, reporter: Reporter) -> None:
    check_place(options)
    with getting_ready(options) as executor:
        _perform(chosen, options, reporter, executor)


def _perform(chosen: Mapping[str, Study], options: Options, reporter: Reporter, executor: Executor | None) -> None:
    from gradsculpt.studies import pages
    from gradsculpt.studies.plan import plan

    spelling = Spelling(copies(options["data"]))
    plans = {name: plan(study, spelling, options["only"]) for name, study in chosen.items()}
    whole = {name: plan(study, spelling) for name, study in chosen.items()} if options["only"] else plans
    tasks = {key: task for each in plans.values() for key, task in each.tasks().items()}
    for study in chosen.values():
        pages.check_figures(study)
        check_out(options["out"] / study.name / study.scale, (pages.PAGE, pages.TABLE, pages.NUMBERS))
    reporter.say(f"{counted(len(chosen), 'studies')} at scale {options['scale']}: {counted(len(tasks), 'tasks')}")
    sets = {task.data for task in tasks.values() if task.data is not None}
    for name in sorted(copies(options["data"]).keys() - sets):
        told = f"what is trained at scale {options['scale']} takes {', '.join(sorted(sets)) or 'no images'}"
        reporter.say(f"--data {name} is not used: {told}; name that set, or another scale.")
    written = StudyPages(plans, whole, options, reporter)
    try:
        perform_tasks(tasks, options, reporter, executor, written)
    finally:
        written.close()


def _show(study: Study, options: Options) -> None:
    from gradsculpt.studies import tables
    from gradsculpt.studies.engine.store import Store
    from gradsculpt.studies.plan import plan
    from gradsculpt.studies.results import StoredResults

    made: Plan = plan(study, Spelling(copies(options["data"]), planning=True), options["only"])
    store = Store(options["out"].absolute())
    results = StoredResults(made, store)
    lines = [study.title, study.source, *([study.content["question"]] if "question" in study.content else []), ""]
    for key, task in made.tasks().items():
        done, failed = store.done(key), store.failed(key)
        state = (
            f"done in {done['seconds']:.0f} s" if done else f"failed: {failed}" if failed else store.writer(key) or "-"
        )
        lines.append(f"  {task.kind.rpartition('.')[2].lower():<10} {task.name}: {state}")
    if study.columns:
        lines += ["", tables.markdown(results)]
    lines += [f"- {claim['says']}" for claim in study.claims]
    if study.departures:
        lines += ["", "Where it departs:", *(f"- {sentence}" for sentence in study.departures)]
    result_console().print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
