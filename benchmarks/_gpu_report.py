"""The end of `gpu.sh`: a Markdown table, JSON and CSV from the logs, runs and files that its parts have left.

    python benchmarks/_gpu_report.py --work WORK --out results/gpu --device cuda

Reads what is there, and says of every part how it ended; no figure is typed by hand. Needs nothing but Python.
"""

import argparse
import csv
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

SCORES = ("accuracy", "gini", "rps_cosine_16", "attacked_cosine", "insertion", "adv_insertion")
COMMAND = "benchmarks/gpu.sh --data DIR"
Row = dict[str, Any]


def main() -> None:
    """Write the report and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--work", "--out"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--device", required=True)
    options = parser.parse_args()
    work, out = options.work, options.out
    out.mkdir(parents=True, exist_ok=True)
    steps, parity = (read(work / "json" / f"{name}.json") for name in ("steps", "parity"))
    parts, throughput, papers = list(parts_of(work)), list(throughput_of(work)), list(papers_of(work))
    for name in ("steps.json", "parity.json"):
        if (work / "json" / name).is_file():
            shutil.copy(work / "json" / name, out / name)
    for name, rows in (("parts.csv", parts), ("throughput.csv", throughput), ("paper.csv", papers)):
        write(out / name, rows)
    with (out / "log.txt").open("w", encoding="utf-8") as log:
        for path in sorted((work / "logs").glob("*.log")):
            log.write(f"==== {path.stem}\n{path.read_text(encoding='utf-8', errors='replace')[-20_000:]}\n")
    sections = [
        "# On a GPU",
        f"Made by `{COMMAND}` on {machine(options.device)}.",
        step_section(steps),
        throughput_section(throughput),
        paper_section(papers),
        parity_section(parity),
        part_section(parts),
    ]
    text = "\n\n".join(section for section in sections if section) + "\n"
    (out / "README.md").write_text(text, encoding="utf-8")
    print(text)


def read(path: Path) -> Row:
    """Return what a JSON file holds; nothing if there is none, or half of one."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def machine(device: str) -> str:
    """Say which card, driver and processor there are."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    processor = next((line.split(":")[1].strip() for line in lines(Path("/proc/cpuinfo")) if "model name" in line), "")
    host = f"{processor or platform.machine()}, {count} cores, Python {platform.python_version()}"
    if device == "cpu":
        return f"no GPU, to see whether the script works: no figure here means anything. {host}"
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        card = subprocess.run(query, capture_output=True, text=True, check=True, timeout=20).stdout.splitlines()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        card = "a GPU that nvidia-smi does not name"
    return f"{card}; {host}"


def lines(path: Path) -> list[str]:
    """Return the lines of a file, none if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def parts_of(work: Path) -> Iterator[Row]:
    """Yield how each part ended."""
    for name, status, seconds, limit in csv.reader(lines(work / "parts.csv")):
        endings = {
            "0": "ended well",
            "124": "stopped at its limit",
            "137": "stopped at its limit",
            "5": "nothing to do",
        }
        ending = endings.get(status, f"failed with status {status}" if status.isdigit() else status)
        log = [line for line in lines(work / "logs" / f"{name}.log") if line.strip()]
        last = log[-1].strip()[:160] if log and status != "0" else ""
        yield {"part": name, "ending": ending, "seconds": seconds, "limit": limit, "last line": last}


def epochs_of(run: Path) -> list[Row]:
    """Return the rows of a run's metrics.csv."""
    try:
        with (run / "metrics.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except OSError:
        return []


def throughput_of(work: Path) -> Iterator[Row]:
    """Yield the seconds an epoch of each training, without the first, and what its log says of decoding."""
    for run in sorted((work / "runs").glob("throughput-*")):
        seconds = [float(row["seconds"]) for row in epochs_of(run)]
        log = "\n".join(lines(work / "logs" / f"{run.name}.log"))
        decoding = re.search(r"in ([\d.,]+) s \(([\d,]+) a second\)", log)
        images = re.search(r"(\d[\d,]*) train\b", log)
        name, _, graphs = run.name.removeprefix("throughput-").partition("-graphs-")
        later = statistics.median(seconds[1:]) if len(seconds) > 1 else None
        count = int(images[1].replace(",", "")) if images else None
        yield {
            "method": name,
            "graphs": graphs,
            "epochs": len(seconds),
            "first epoch, s": seconds[0] if seconds else None,
            "later epochs, s": later,
            "300 epochs, min": 300 * later / 60 if later else None,
            "images a second": round(count / later) if count and later else None,
            "decoding, s": float(decoding[1].replace(",", "")) if decoding else None,
            "decoded a second": int(decoding[2].replace(",", "")) if decoding else None,
        }


def papers_of(work: Path) -> Iterator[Row]:
    """Yield what came out of each training at the papers' scale: its epochs, and the scores of its network."""
    for run in sorted((work / "runs").glob("paper-*")):
        epochs, scores = epochs_of(run), read(run / "scorecard.json").get("scores", {})
        row: Row = {"training": run.name.removeprefix("paper-"), "epochs": len(epochs)}
        row["s an epoch"] = statistics.median(float(epoch["seconds"]) for epoch in epochs) if epochs else None
        row["val_accuracy"] = max((float(epoch["val_accuracy"]) for epoch in epochs), default=None)
        yield row | {name: scores[name]["mean"] if name in scores else None for name in SCORES}


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as CSV; nothing where there are none."""
    if rows:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a Markdown table."""
    shown = [head, ["---"] * len(head), *([cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in shown)


def cell(value: Any) -> str:
    """Return a value as a table shows it; what was not measured is a dash."""
    if value is None or value == "":
        return "-"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return str(value).replace("|", "/")


def step_section(steps: Row) -> str:
    """Return the table of training steps."""
    if not steps.get("rows"):
        return ""
    head = ["network, batch", "method", "mode", "cross entropy, ms", "ours, ms", "ratio [quartiles]", "floor"]
    head += ["published", "plain formula", "ours / plain", "memory, MiB: cross entropy, ours, plain"]
    body = []
    for row in steps["rows"]:
        title = [f"{row['network']}, {row['batch']} x {row['side']} px", row["method"]]
        for mode, entries in row.get("modes", {}).items():
            ours, plain = entries.get("ours", {}), entries.get("plain", {})
            memory = [f"{size / 2**20:.0f}" for size in row["memory"].values()] if mode == "eager" else []
            body.append(
                [
                    *title,
                    mode,
                    entries.get("cross entropy", {}).get("ms"),
                    ours.get("ms"),
                    ratio(ours.get("ratio")),
                    f"{row['floor']:.2f}",
                    row["published"],
                    ratio(plain.get("ratio")),
                    f"{ours['by plain'][1]:.2f}" if "by plain" in ours else None,
                    ", ".join(memory),
                ]
            )
        body += [[*title, f"not measured, {variant}: {why}", *[None] * 8] for variant, why in row["failures"].items()]
    facts = ", ".join(f"{name} {value}" for name, value in steps.items() if name != "rows")
    words = "Milliseconds a step by the GPU's events; ratios to cross entropy of the same network in the same mode"
    return f"## A training step\n\n{words} ({facts}).\n\n{table(head, body)}"


def ratio(quartiles: Sequence[float] | None) -> str | None:
    """Return a median with its quartiles."""
    return None if quartiles is None else f"{quartiles[1]:.2f} [{quartiles[0]:.2f}, {quartiles[2]:.2f}]"


def throughput_section(rows: Sequence[Row]) -> str:
    """Return the table of trainings by the command."""
    if not rows:
        return ""
    words = "LeNet on CIFAR-10, paper B's training, by `gradsculpt train`; later epochs by their median."
    return f"## By the train command\n\n{words}\n\n{table(list(rows[0]), [list(row.values()) for row in rows])}"


def paper_section(rows: Sequence[Row]) -> str:
    """Return the table of trainings at the papers' scale."""
    if not rows:
        return ""
    words = "As many epochs as there was time for, side by side on one card, scored by `gradsculpt evaluate --quick`."
    return f"## At the papers' scale\n\n{words}\n\n{table(list(rows[0]), [list(row.values()) for row in rows])}"


def parity_section(parity: Row) -> str:
    """Return the table of differences between the GPU and the CPU."""
    if not parity.get("rows"):
        return ""
    head = ["family", "members", "beyond the tolerance", "largest difference", "tolerance", "of"]
    keys = ("family", "members", "beyond", "largest", "tolerance", "member")
    body = [[f"{row[k]:.0e}" if k in ("largest", "tolerance") else row[k] for k in keys] for row in parity["rows"]]
    words = f"{parity['trial']} beside {parity['reference']}, without TF32, on the same random numbers."
    return f"## Beside the CPU\n\n{words}\n\n{table(head, body)}"


def part_section(parts: Sequence[Row]) -> str:
    """Return how each part ended."""
    return f"## How the parts ended\n\n{table(list(parts[0]), [list(row.values()) for row in parts])}" if parts else ""


if __name__ == "__main__":
    main()
