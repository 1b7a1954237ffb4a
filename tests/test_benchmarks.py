"""What the measurements on a GPU rest on: a comparison that finds what differs, and a report that tells what failed."""

import csv
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def _importable() -> Iterator[None]:
    sys.path.insert(0, str(FOLDER))
    yield
    sys.path.remove(str(FOLDER))


def load(name: str) -> Any:
    """Return a module of the benchmarks."""
    return importlib.import_module(name)


FAMILIES = ("penalties", "perturbations", "objectives", "attributions", "attacks", "metrics", "layers")


def disagreeing(family: str, device: str = "cpu") -> list[str]:
    """Return the members of a family that are beyond its tolerance, on the CPU in float32 beside float64."""
    parity = load("parity")
    name = next(name for name in parity.FAMILIES if name.startswith(family))
    trial = parity.Place(torch.device(device), torch.float32)
    reference = parity.Place(parity.CPU, torch.float64 if device == "cpu" else torch.float32)
    with parity.without_tf32():
        found = [parity.compared(*member, trial, reference) for member in parity.FAMILIES[name].members()]
    assert found
    return [f"{one}" for one in found if one is not None and not one.worst <= parity.FAMILIES[name].tolerance]


@pytest.mark.parametrize("family", FAMILIES)
def test_rounding_alone_stays_within_the_tolerance(family: str) -> None:
    assert disagreeing(family) == []


@pytest.mark.cuda
@pytest.mark.parametrize("family", [*FAMILIES, "shipped"])
def test_a_gpu_computes_what_the_cpu_computes(family: str) -> None:
    assert disagreeing(family, "cuda") == []


def places() -> tuple[Any, Any]:
    place = load("_alike").Place
    return place(torch.device("cpu"), torch.float32), place(torch.device("cpu"), torch.float64)


def test_what_differs_between_places_is_found_and_what_fails_is_told() -> None:
    parity, (trial, reference) = load("parity"), places()

    def wrong(place: Any) -> dict[str, Tensor]:
        return {"right": torch.ones(2), "wrong": torch.full((2,), 1.0 if place == reference else 1.01)}

    def failing(place: Any) -> dict[str, Tensor]:
        raise ValueError("no such kernel\nand more")

    one = parity.compared("it", wrong, trial, reference)
    assert (round(one.worst, 4), one.output) == (0.01, "wrong")
    other = parity.compared("it", failing, trial, reference)
    assert other.worst == float("inf")
    assert other.failure == "cpu, float64: ValueError: no such kernel"


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([1.0, 2.1], [1.0, 2.0], 0.05),
        ([torch.inf, 2.0], [torch.inf, 2.0], 0.0),
        ([torch.inf, 2.0], [-torch.inf, 2.0], torch.inf),
        ([torch.nan, 2.0], [1.0, 2.0], torch.inf),
        ([1.0, 2.0], [torch.nan, 2.0], torch.inf),
        ([torch.nan, torch.nan], [torch.nan, torch.nan], 0.0),
        ([1.0], [1.0, 2.0], torch.inf),
        ([0.0], [0.0], 0.0),
    ],
)
def test_a_difference_is_by_the_size_of_the_reference(a: list[float], b: list[float], expected: float) -> None:
    assert load("_alike").difference(torch.tensor(a), torch.tensor(b)) == pytest.approx(expected, rel=1e-5)


def fused(like: Tensor, p: float = 0.5) -> Tensor:
    """Drop as a GPU does."""
    return torch.native_dropout(like, p, True)[0]


DRAWS = {
    "normal": lambda like: torch.empty_like(like).normal_(),
    "uniform": lambda like: torch.empty_like(like).uniform_(-1, 1, generator=torch.Generator().manual_seed(3)),
    "rand": lambda like: torch.rand(like.shape, dtype=like.dtype),
    "randn of a generator": lambda like: torch.randn(like.shape, dtype=like.dtype, generator=torch.Generator()),
    "randn like": torch.randn_like,
    "dropout": lambda like: F.dropout(like, 0.4, training=True),
    "module": lambda like: nn.Dropout2d(0.4)(like),
    "fused dropout": fused,
    "channels last": lambda like: F.dropout(like.contiguous(memory_format=torch.channels_last), 0.4),
    "leaky": lambda like: F.rrelu(like - 2, training=True),
    "whole": lambda like: torch.randint(5, like.shape, device=like.device).to(like),
    "gumbel": lambda like: F.gumbel_softmax(like, dim=1),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=list(DRAWS))
def test_two_places_draw_the_same_numbers_call_by_call(draw: Any) -> None:
    noise, results = load("_alike").SameNoise, []
    before = torch.get_rng_state()
    for place in places():
        with noise():
            like = place(torch.ones(2, 3, 4, 5, dtype=torch.float64))
            results.append((draw(like), draw(like)))
    (first, second), (other, _) = results
    assert (first.dtype, other.dtype) == (torch.float32, torch.float64)
    torch.testing.assert_close(first.double(), other, rtol=1e-5, atol=1e-6)
    assert not torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)


def test_dropout_is_the_same_by_the_operations_of_a_cpu_and_of_a_gpu_in_any_memory_format() -> None:
    x, results, draws = torch.randn(2, 3, 4, 5), [], cast(Any, (F.dropout, fused))
    for layout in (torch.contiguous_format, torch.channels_last):
        like = x.contiguous(memory_format=layout)
        for draw in draws:
            with load("_alike").SameNoise():
                results.append(draw(like))
    for result in results:
        torch.testing.assert_close(result, results[0], rtol=1e-6, atol=0)
    assert 0 < int((results[0] == 0).sum()) < x.numel()


def test_a_step_on_a_device_is_timed_and_one_that_fails_says_why() -> None:
    steps, cpu = load("_on_device"), torch.device("cpu")
    case = next(case for case in steps.CASES if case.called(["lenet"]) and case.plain)._replace(batch=2)
    row = steps.measure(case, cpu, 0.0, False)
    entries = row["modes"]["eager"]
    assert list(entries) == ["cross entropy", "ours", "plain"]
    assert all(entry["ms"] > 0 for entry in entries.values())
    low, median, high = entries["ours"]["ratio"]
    assert 0 < low <= median <= high
    assert row["failures"] == {}

    def broken(*_: Any) -> Tensor:
        raise RuntimeError("out of\nmemory")

    failing = type("Failing", (type(case),), {"plain": broken})(*case)
    row = steps.measure(failing, cpu, 0.0, False)
    assert row["failures"] == {"plain, eager": "RuntimeError: out of memory"}
    assert list(row["modes"]["eager"]) == ["cross entropy", "ours"]
    told = steps.text({"network": "n", "batch": 2, "side": 32, "method": "m", "floor": 1.0, "published": "-", **row})
    assert "not measured, plain, eager: RuntimeError: out of memory" in told


def test_the_table_has_a_row_for_every_line_that_papers_train_with() -> None:
    rows = [(case.network, case.batch, case.side, case.name) for case in load("_on_device").CASES]
    assert rows == [
        ("lenet", 128, 32, "one-step elastic net"),
        ("lenet", 128, 32, "l2 + cosine"),
        ("lenet", 128, 32, "Hessian"),
        ("resnet18-cifar", 128, 32, "l2 + cosine"),
        ("resnet18-cifar", 128, 32, "Hessian"),
        ("torchvision:resnet18", 64, 224, "l2 + cosine"),
        ("efficientnet_b0", 16, 224, "one-step elastic net"),
        ("efficientnet_b0", 64, 224, "one-step elastic net"),
        ("efficientnet_b0", 64, 224, "7-step L1"),
    ]


def test_the_report_tells_what_there_is_and_how_every_part_ended(tmp_path: Path) -> None:
    work, out = tmp_path / "work", tmp_path / "out"
    for folder in ("json", "logs", "runs/throughput-standard-graphs-off", "runs/paper-lenet-standard"):
        (work / folder).mkdir(parents=True)
    (work / "parts.csv").write_text("table,0,12,200\nparity,124,60,60\ntests,there are no images,0,0\nother,3,1,9\n")
    (work / "logs/parity.log").write_text("penalties\nthe last | line\n")
    log = "reading images: 45,000 of 45,000 images in 7.5 s (6,000 a second)\ncifar10: 45,000 train, 5,000 val\n"
    (work / "logs/throughput-standard-graphs-off.log").write_text(log)
    metrics = "epoch,val_accuracy,seconds\n1,0.25,9.0\n2,0.5,4.0\n3,0.45,5.0\n"
    for run in (work / "runs").iterdir():
        (run / "metrics.csv").write_text(metrics)
    (work / "runs/paper-lenet-standard/scorecard.json").write_text(json.dumps({"scores": {"gini": {"mean": 0.625}}}))
    (work / "json/parity.json").write_text("{")  # of a process that was stopped while it wrote
    command = [
        sys.executable,
        str(FOLDER / "_gpu_report.py"),
        "--work",
        str(work),
        "--out",
        str(out),
        "--device",
        "cpu",
    ]
    subprocess.run(command, check=True, capture_output=True)
    text = (out / "README.md").read_text(encoding="utf-8")
    assert "| standard | off | 3 | 9 | 4.5 | 22.5 | 10000 | 7.5 | 6000 |" in text
    assert "| lenet-standard | 3 | 5 | 0.5 | - | 0.625 | - | - | - | - |" in text
    assert "| table | ended well | 12 | 200 | - |" in text
    assert "| parity | stopped at its limit | 60 | 60 | the last / line |" in text
    assert "| tests | there are no images | 0 | 0 |" in text
    assert "| other | failed with status 3 |" in text
    with (out / "throughput.csv").open(encoding="utf-8") as file:
        assert next(csv.DictReader(file))["later epochs, s"] == "4.5"


PRETENDING = """#!/usr/bin/env bash
case "$1" in
  *_gpu_report.py) exec {python} "$@" ;;
  *) {rest} ;;
esac
"""


def gpu_command(tmp_path: Path, rest: str, *words: str) -> subprocess.Popen[str]:
    """Begin the measurements with a Python that only writes the report, and does something else for all other parts."""
    python = tmp_path / "python"
    python.write_text(PRETENDING.format(python=sys.executable, rest=rest))
    python.chmod(0o755)
    command = ["bash", str(FOLDER / "gpu.sh"), "--smoke", "--work", str(tmp_path / "work"), *words]
    environment = {**os.environ, "PYTHON": str(python)}
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def told(tmp_path: Path) -> dict[str, str]:
    """Return how each part ended, and the last line of its log."""
    with (tmp_path / "work/report/parts.csv").open(encoding="utf-8") as file:
        return {row["part"]: f"{row['ending']}: {row['last line']}" for row in csv.DictReader(file)}


def test_a_part_that_fails_takes_no_other_with_it(tmp_path: Path) -> None:
    process = gpu_command(tmp_path, "echo no such device; exit 3")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    papers = [
        f"paper-{name}{end}"
        for name in ("lenet-standard", "lenet-l2-cosine", "imagenette-standard", "imagenette-elastic-net")
        for end in ("", "-evaluate")
    ]
    throughput = ["throughput-standard-graphs-off", "throughput-l2-cosine-graphs-off"]
    parts = {"table", "parity", "tests", *throughput, *papers}
    assert told(tmp_path) == dict.fromkeys(parts, "failed with status 3: no such device")
    assert "## How the parts ended" in output


def test_measurements_that_are_stopped_write_what_there_is_and_begin_nothing_more(tmp_path: Path) -> None:
    process = gpu_command(tmp_path, "echo begun; sleep 60", "--parts", "tests paper-lenet")
    parts = ("tests", "paper-lenet-standard", "paper-lenet-l2-cosine")
    logs = [tmp_path / f"work/logs/{part}.log" for part in parts]
    while not all(log.is_file() and log.stat().st_size for log in logs):
        time.sleep(0.05)
    process.terminate()
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 1, output
    assert told(tmp_path) == dict.fromkeys(parts, "failed with status 143: begun")


@pytest.mark.parametrize(
    "words",
    [("gpu.sh", "--data"), ("gpu.sh", "--data", "/not/there"), ("gpu.sh", "--minutes", "x"), ("gpu.sh",)]
    + [(f"{name}.py", "--device", device) for name in ("train_step", "parity") for device in ("cuda", "abacus")],
)
def test_what_cannot_be_measured_is_one_line(words: tuple[str, ...], tmp_path: Path) -> None:
    runner = "bash" if words[0] == "gpu.sh" else sys.executable
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHON": sys.executable}
    out = ["--out", str(tmp_path / "out")] if words == ("gpu.sh",) else []
    command = [runner, str(FOLDER / words[0]), *words[1:], *out]
    refused = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "out").exists()


def test_an_argument_that_is_not_known_is_refused() -> None:
    refused = subprocess.run(["bash", str(FOLDER / "gpu.sh"), "--what"], capture_output=True, text=True)
    assert refused.returncode == 2
    assert refused.stderr.startswith("unknown argument --what")
