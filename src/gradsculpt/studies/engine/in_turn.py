"""One job after the other, in this process."""

from collections.abc import Sequence

from gradsculpt.errors import GradsculptError
from gradsculpt.progress import Reporter
from gradsculpt.studies.engine.job import Ended, Job, Perform


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
    """Do a job and return how it ended; what stops the process is raised."""
    from gradsculpt.studies.engine.store import BusyError

    try:
        perform(job, reporter)
    except BusyError as error:
        return Ended(job.key, str(error), busy=True)
    except GradsculptError as error:
        return Ended(job.key, " ".join(str(error).split()))
    except Exception as error:  # of a class of the user's own, or a mistake of ours: the others go on
        return Ended(job.key, f"{type(error).__name__}: {' '.join(str(error).split())}")
    return Ended(job.key)
