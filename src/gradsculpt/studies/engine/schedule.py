"""Doing tasks: what is done is skipped, each comes after those that it needs, and what fails holds up only its own."""

import time
from collections.abc import Callable, Iterator, Mapping

from gradsculpt.progress import Reporter
from gradsculpt.studies.engine.job import Ended, Executor, Job
from gradsculpt.studies.engine.status import Progress, Status, spoken, told_of, watched
from gradsculpt.studies.engine.store import Store
from gradsculpt.studies.engine.task import Task
from gradsculpt.wording import counted

_MOMENT = 1.0  # seconds between two looks at what others are doing


def perform_all(
    tasks: Mapping[str, Task],
    store: Store,
    executor: Executor,
    job_of: Callable[[Task], Job],
    reporter: Reporter,
    *,
    retries: int = 2,
    ended: Callable[[Progress], object] | None = None,
) -> Progress:
    """Do tasks, each after those that it needs, and return how far they got.

    Args:
        tasks: By key, each after those that it needs.
        store: Where results are.
        executor: Who does them.
        job_of: Makes a job of a task.
        reporter: Told of each start and end.
        retries: How often a task is tried again whose process was lost.
        ended: Called with what has ended so far, at first and whenever that changes.
    """
    progress, tries = Progress(), dict.fromkeys(tasks, 0)
    waiting = dict(tasks)
    for key in [key for key in tasks if store.done(key) is not None]:
        store.writer(key)  # a lock that was left in the last moment of one that was killed goes with this
        progress.done[key] = 0.0
        del waiting[key]
    if progress.done:
        reporter.say(f"{counted(len(progress.done), 'tasks')} of {len(tasks)} were done before")
    told_ended = ended or (lambda _: None)
    with watched(Status(tasks, progress, store, time.monotonic()), reporter):
        try:
            told_ended(progress)
            while waiting or progress.running:
                _drop(waiting, progress, tasks, reporter)
                for task in _ready(waiting, progress):
                    if not executor.free():
                        break
                    if _is_open(task, waiting, progress, store, reporter):
                        progress.running[task.key] = time.monotonic()
                        reporter.say(f"{told_of(task)}: begun")
                        executor.submit(job_of(task))
                told = executor.wait(_MOMENT)
                for each in told:
                    _end(each, tasks, waiting, progress, tries, retries, reporter)
                if told:
                    told_ended(progress)
                if not told and not progress.running and progress.elsewhere:
                    time.sleep(_MOMENT)
        finally:
            executor.close()
    return progress


def _is_open(task: Task, waiting: dict[str, Task], progress: Progress, store: Store, reporter: Reporter) -> bool:
    """Tell whether a task is to be done now, and by us, for which it is taken from those that wait."""
    key = task.key
    if store.done(key) is not None:  # by another process meanwhile
        progress.done[key] = 0.0
        progress.elsewhere.discard(key)
        del waiting[key]
        return False
    if (by := store.writer(key)) is not None:
        if key not in progress.elsewhere:
            progress.elsewhere.add(key)
            reporter.say(f"{told_of(task)}: {by} is doing it")
        return False
    progress.elsewhere.discard(key)
    del waiting[key]
    return True


def _ready(waiting: Mapping[str, Task], progress: Progress) -> Iterator[Task]:
    for task in list(waiting.values()):
        if all(each.key in progress.done for each in task.networks.values()):
            yield task


def _drop(waiting: dict[str, Task], progress: Progress, tasks: Mapping[str, Task], reporter: Reporter) -> None:
    """Give up the tasks that need one that failed."""
    for key, task in list(waiting.items()):
        if broken := [each for each in task.networks.values() if each.key in progress.failed]:
            progress.failed[key] = f"it needs {broken[0].name}, which failed"
            reporter.say(f"{told_of(task)}: left out, as {progress.failed[key]}")
            del waiting[key]


def _end(
    ended: Ended,
    tasks: Mapping[str, Task],
    waiting: dict[str, Task],
    progress: Progress,
    tries: dict[str, int],
    retries: int,
    reporter: Reporter,
) -> None:
    """Note how a task ended; one that was lost is tried again, and one that another process does is waited for."""
    key = ended.key
    seconds = time.monotonic() - progress.running.pop(key)
    if ended.busy:
        waiting[key] = tasks[key]
        return
    if ended.lost and tries[key] < retries:
        tries[key] += 1
        waiting[key] = tasks[key]
        reporter.say(f"{told_of(tasks[key])}: {ended.error}; tried again, {tries[key]} of {retries} times")
    elif ended.error is not None:
        progress.failed[key] = ended.error
        reporter.say(f"{told_of(tasks[key])}: failed, {ended.error}")
    else:
        progress.done[key] = seconds
        of = f"{len(progress.done)} of {len(tasks)}"
        reporter.say(f"{told_of(tasks[key])}: done in {spoken(seconds)} ({of})")
