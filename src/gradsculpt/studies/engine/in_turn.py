"""One job after the other, in this process."""

import platform
from collections.abc import Sequence

from gradsculpt.accidents import told as accident
from gradsculpt.errors import GradsculptError
from gradsculpt.extensions import trusted
from gradsculpt.progress import Reporter
from gradsculpt.studies.engine.job import Ended, Job, Perform
from gradsculpt.studies.engine.store import BusyError
from gradsculpt.studies.engine.versions import version


class InTurn:
    """Does each job at once, in this process.

    Args:
        perform: Does a job.
        reporter: Where a job tells how it goes.
    """

    def __init__(self, perform: Perform, reporter: Reporter | None = None) -> None:
        self._perform, self._reporter, self._ended = perform, reporter or Reporter(), list[Ended]()

    def free(self) -> bool:
        """Tell whether the end of the last job has been told."""
        return not self._ended

    def submit(self, job: Job) -> None:
        """Do a job."""
        self._ended.append(ended(job, self._perform, self._reporter))

    def wait(self, seconds: float) -> Sequence[Ended]:
        """Return how the last job ended."""
        told, self._ended = self._ended, []
        return told

    def close(self) -> None:
        """Do nothing: nothing is running."""


def ended(job: Job, perform: Perform, reporter: Reporter) -> Ended:
    """Do a job and return how it ended; what stops the process is raised.

    A process whose code is not that of whoever made the job does not do it, as its result would count as another's.
    """
    with trusted(job.machine.own):
        return _ended(job, perform, reporter)


def _ended(job: Job, perform: Perform, reporter: Reporter) -> Ended:
    try:
        if job.version is not None and (here := version(job.code)) != job.version:
            return Ended(
                job.key,
                f"the code that does it is of version {here} on {platform.node()}, and {job.version} was asked for, so "
                "that its result would be another's; call the command again, and install the same code on all machines",
            )
        perform(job, reporter)
    except BusyError as error:
        return Ended(job.key, str(error), busy=True)
    except GradsculptError as error:
        return Ended(job.key, " ".join(str(error).split()))
    except Exception as error:  # of the machine, of a class of the user's own, or a mistake of ours: the others go on
        return Ended(job.key, " ".join((accident(error) or f"{type(error).__name__}: {error}").split()))
    return Ended(job.key)
