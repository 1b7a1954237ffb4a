"""What this process may use of the machine: cores, memory, room on the disk; limits of a container count."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_ROOT = Path("/")
_UNLIMITED = 1 << 60  # what version 1 of control groups writes for no limit is about twice this


class Cores(NamedTuple):
    """How many threads are of use, and every limit that was found, by what sets it."""

    threads: int
    limits: dict[str, int]

    def __str__(self) -> str:
        told = ", ".join(f"{name} {count}" for name, count in self.limits.items())
        return f"{self.threads} ({told})"


def cores(root: Path = _ROOT) -> Cores:
    """Return the number of threads that have a core each: the least of what the limits allow, and at least 1.

    Limits are OMP_NUM_THREADS, the affinity of the process, and the quotas of its control groups, of version 1 or 2, a
    part of a core being none. The machine's own number counts where none of these is to be had.

    Args:
        root: Where the system's files are.
    """
    limits = {"cores of the machine": os.cpu_count() or 1}
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        limits["affinity"] = len(os.sched_getaffinity(0))
    if quotas := list(_quotas(root)):
        limits["quota of the container"] = max(1, int(min(quotas)))
    with suppress(ValueError):
        # A list is for nested regions, of which there are none.
        if (typed := int(os.environ.get("OMP_NUM_THREADS", "").split(",")[0])) > 0:
            return Cores(typed, {"OMP_NUM_THREADS": typed, **limits})
    return Cores(min(limits.values()), limits)


def threads_of_each(processes: int) -> int:
    """Return the threads of each of some processes that share the machine; OMP_NUM_THREADS is for each already."""
    here = cores()
    return here.threads if "OMP_NUM_THREADS" in here.limits else max(1, here.threads // processes)


def free_memory(root: Path = _ROOT) -> int | None:
    """Return the bytes of memory that can still be had, by the system and by the control groups; None if not known."""
    known = []
    with suppress(OSError, ValueError, IndexError):
        lines = (root / "proc/meminfo").read_text().splitlines()
        known += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    known += [max(0, left) for left in _left(root)]
    return min(known, default=None)


def free_disk(folder: Path) -> int | None:
    """Return the bytes that can be written below a folder, which need not exist yet; None if that is not known."""
    for place in (folder.absolute(), *folder.absolute().parents):
        with suppress(OSError, AttributeError):  # Windows has no statvfs
            system = os.statvfs(place)
            return system.f_bavail * system.f_frsize
    return None


def _quotas(root: Path) -> Iterator[float]:
    for folder in _groups(root, "cpu"):
        with suppress(OSError, ValueError, ZeroDivisionError):
            quota, period = (folder / "cpu.max").read_text().split()
            if quota != "max":
                yield int(quota) / int(period)
        with suppress(OSError, ValueError, ZeroDivisionError):
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
            if int(quota) > 0:
                yield int(quota) / int(period)


def _left(root: Path) -> Iterator[int]:
    for folder in _groups(root, "memory"):
        for limit, used, reclaimed in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            with suppress(OSError, ValueError):  # "max" is no number, and no limit
                most = int((folder / limit).read_text())
                if most < _UNLIMITED:
                    # Files that were read and not looked at again count as used, and go when memory is wanted.
                    statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                    yield most - int((folder / used).read_text()) + int(statistics.get(reclaimed, 0))


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of the control groups that this process is in, from its own up to the outermost seen here."""
    mounts = root / "sys/fs/cgroup"
    with suppress(OSError, ValueError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            names = ["", "unified"] if not controllers else [controllers, controller]
            if controllers and controller not in controllers.split(","):
                continue
            inside = Path(path.lstrip("/"))
            for mount in (mounts / name for name in names):
                # A container may see its own group as the root, whatever the path says.
                yield from (mount / each for each in (inside, *inside.parents) if (mount / each).is_dir())


def resident_memory() -> int:
    """Return the bytes of memory that this process takes now; 0 if that is not known."""
    with suppress(OSError, ValueError, IndexError):
        return int((_ROOT / "proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def is_first_process() -> bool:
    """Tell whether this process is the first of those that train together, by what their launcher has told it."""
    ranks = [os.environ.get(name) for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK")]
    return next((rank for rank in ranks if rank), "0") == "0" and os.environ.get("NODE_RANK", "0") == "0"


def is_first_here() -> bool:
    """Tell whether this process is the first of those of this machine that train together."""
    return next((rank for name in ("LOCAL_RANK", "SLURM_LOCALID") if (rank := os.environ.get(name))), "0") == "0"
