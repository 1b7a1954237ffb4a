"""Cores and memory as a container has them, from files written as the two versions of control groups write them."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

import gradsculpt
from gradsculpt.cli import process
from gradsculpt.data import cache
from gradsculpt.machine import cores, free_disk, free_memory

GIB = 2**30


def system(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


V2, V1 = "0::/docker/a\n", "4:memory:/docker/a\n3:cpuset:/\n1:cpu,cpuacct:/docker/a\n"
QUOTAS = {
    "version 2": ({"proc/self/cgroup": V2, "sys/fs/cgroup/docker/a/cpu.max": "200000 100000\n"}, 2),
    "of the group above": (
        {
            "proc/self/cgroup": V2,
            "sys/fs/cgroup/docker/a/cpu.max": "max 100000\n",
            "sys/fs/cgroup/docker/cpu.max": "350000 100000\n",
        },
        3,
    ),
    "seen as the root": ({"proc/self/cgroup": V2, "sys/fs/cgroup/cpu.max": "400000 100000\n"}, 4),
    "less than a core": ({"proc/self/cgroup": V2, "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
    "version 1": (
        {
            "proc/self/cgroup": V1,
            "sys/fs/cgroup/cpu,cpuacct/docker/a/cpu.cfs_quota_us": "300000\n",
            "sys/fs/cgroup/cpu,cpuacct/docker/a/cpu.cfs_period_us": "100000\n",
        },
        3,
    ),
    "version 1, seen as the root": (
        {
            "proc/self/cgroup": V1,
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
        2,
    ),
    "none": (
        {
            "proc/self/cgroup": V1,
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
        64,
    ),
    "damaged": ({"proc/self/cgroup": "nonsense\n0::/\n", "sys/fs/cgroup/cpu.max": "lots\n"}, 64),
    "no control groups": ({}, 64),
}


@pytest.fixture
def big(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)), raising=False)


@pytest.mark.usefixtures("big")
@pytest.mark.parametrize(("files", "expected"), QUOTAS.values(), ids=QUOTAS)
def test_threads_follow_the_quota_of_the_container(tmp_path: Path, files: Mapping[str, str], expected: int) -> None:
    assert cores(system(tmp_path, files)).threads == expected


@pytest.mark.usefixtures("big")
def test_threads_follow_affinity_and_what_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5, 8}, raising=False)
    assert cores(tmp_path).threads == 3
    assert "affinity 3" in str(cores(tmp_path))
    for typed, expected in (("2", 2), ("5", 5), ("4,2", 4), ("0", 3), ("many", 3), ("", 3)):
        monkeypatch.setenv("OMP_NUM_THREADS", typed)
        assert cores(tmp_path).threads == expected


def test_memory_is_what_the_tightest_limit_leaves(tmp_path: Path) -> None:
    meminfo = {"proc/meminfo": f"MemTotal: 99 kB\nMemAvailable: {16 * 2**20} kB\n"}
    assert free_memory(tmp_path / "nothing") is None
    assert free_memory(system(tmp_path / "plain", meminfo)) == 16 * GIB
    second = {
        "proc/self/cgroup": V2,
        "sys/fs/cgroup/docker/a/memory.max": "max\n",
        "sys/fs/cgroup/docker/memory.max": f"{8 * GIB}\n",
        "sys/fs/cgroup/docker/memory.current": f"{3 * GIB}\n",
        "sys/fs/cgroup/docker/memory.stat": f"anon 5\ninactive_file {GIB}\n",
    }
    assert free_memory(system(tmp_path / "second", meminfo | second)) == 6 * GIB
    first = {
        "proc/self/cgroup": V1,
        "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{4 * GIB}\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{3 * GIB}\n",
        "sys/fs/cgroup/memory/memory.stat": f"inactive_file 7\ntotal_inactive_file {GIB}\n",
    }
    assert free_memory(system(tmp_path / "first", meminfo | first)) == 2 * GIB
    first["sys/fs/cgroup/memory/memory.limit_in_bytes"] = "9223372036854771712\n"
    assert free_memory(system(tmp_path / "unlimited", meminfo | first)) == 16 * GIB


def test_the_room_below_a_folder_that_is_not_there_yet_is_known(tmp_path: Path) -> None:
    assert (free_disk(tmp_path / "not" / "there") or 0) > 0


def test_nothing_asks_the_machine_itself_for_its_cores() -> None:
    """What did would start too many threads in a container."""
    source = Path(gradsculpt.__file__).parent
    asking = [path.name for path in source.rglob("*.py") if "cpu_count" in path.read_text(encoding="utf-8")]
    assert asking == ["machine.py"]


def test_commands_and_decoders_have_as_many_threads_as_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    started, threads = list[int](), list[int]()

    def pool(max_workers: int) -> ThreadPoolExecutor:
        started.append(max_workers)
        return ThreadPoolExecutor(1)

    monkeypatch.setattr(cache, "ThreadPoolExecutor", pool)
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert list(cache.ordered(str.upper, ["a"])) == ["A"]
    process.prepare()
    assert (started, threads) == ([3], [3])
