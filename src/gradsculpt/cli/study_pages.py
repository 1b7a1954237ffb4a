"""The pages of the studies that are run, each written as soon as all that it tells has ended."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING

from gradsculpt.cli.parser import Options
from gradsculpt.cli.tasks import copies
from gradsculpt.progress import Reporter

if TYPE_CHECKING:
    from gradsculpt.studies.engine.status import Progress
    from gradsculpt.studies.plan import Plan
    from gradsculpt.studies.results import StoredResults


class StudyPages:
    """Writes the page of a study when its tasks have ended, for `perform_all`, and of all others when it is closed.

    Where other processes do the tasks, a thread writes meanwhile.

    Args:
        plans: By how each study was named, what is done of it.
        whole: The same, of all its rows.
        options: Of the command.
        reporter: Told where pages are.
    """

    def __init__(
        self, plans: Mapping[str, Plan], whole: Mapping[str, Plan], options: Options, reporter: Reporter
    ) -> None:
        self._whole, self._options, self._reporter = whole, options, reporter
        self._left = dict(plans)
        beside = options["workers"] is not None or options["ray"] is not None
        self._writer = ThreadPoolExecutor(1, "gradsculpt-pages") if beside else None
        self._writing: list[Future[None]] = []

    def __call__(self, progress: Progress) -> None:
        """Write the pages of those whose tasks have ended since."""
        ended = progress.done.keys() | progress.failed.keys()
        for name, plan in list(self._left.items()):
            if plan.tasks().keys() <= ended:
                self._begin(name)

    def close(self) -> None:
        """Write all that are left; raise the first error of any."""
        try:
            for name in list(self._left):
                self._begin(name)
            for each in self._writing:
                each.result()
        finally:
            if self._writer is not None:
                self._writer.shutdown(cancel_futures=True)

    def _begin(self, name: str) -> None:
        plan = self._left.pop(name)
        if self._writer is None:
            self._write(name, plan)
        else:
            self._writing.append(self._writer.submit(copy_context().run, self._write, name, plan))

    def _write(self, name: str, plan: Plan) -> None:
        from gradsculpt.studies import pages
        from gradsculpt.studies.engine.store import Store
        from gradsculpt.studies.results import StoredResults

        store, study = Store(self._options["out"].absolute()), plan.study
        results = StoredResults(self._whole[name].with_parts(plan, store.done), store)
        if results.rows or not study.run_rows:
            folder = self._options["out"] / study.name / study.scale
            written = pages.write(results, folder, _command(name, results, self._options), self._reporter.say)
            self._reporter.say(f"Written to {written[-1]}")


def _command(name: str, results: StoredResults, options: Options) -> str:
    """Return the call that gives what there is of a study, but for where things lie on this machine."""
    study = results.plan.study
    rows = [row for row in study.run_rows if row in results.rows]
    only = ["--only", *rows] if len(rows) < len(study.run_rows) else []
    sets = {task.data for task in results.plan.tasks().values()}
    copied = [f"{each}=folder:PATH" for each in copies(options["data"]) if each in sets]
    words = ["gradsculpt", "study", "run", name, "--scale", study.scale, *only]
    return shlex.join([*words, *(word for each in copied for word in ("--data", each))])
