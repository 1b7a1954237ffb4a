"""Known holes of the packages that are installed here: `python -m tests.audit`, with status 1 if there are any.

The list of holes is on the network. What could not be looked up is counted and told: silence means that all were.
"""

import json
import socket
import subprocess
import sys
from typing import Any

_INDEX = ("pypi.org", 443)


def reachable() -> bool:
    """Tell whether the list of holes can be asked for."""
    try:
        socket.create_connection(_INDEX, 5).close()
    except OSError:
        return False
    return True


def report(found: dict[str, Any]) -> tuple[list[str], bool]:
    """Return what to print of pip-audit's answer, and whether there are holes."""
    packages = found["dependencies"]
    unknown = [each["name"] for each in packages if "skip_reason" in each]
    holes = [
        "{name} {version}: ".format_map(each)
        + f"{hole['id']}, mended in {', '.join(hole['fix_versions']) or 'nothing yet'}"
        for each in packages
        for hole in each.get("vulns", ())
    ]
    looked = len(packages) - len(unknown)
    lines = [*holes, f"{looked} of {len(packages)} packages looked up, {len(holes)} known holes"]
    if unknown:
        some = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        lines.append(f"not looked up, so nothing is known of them: {some}")
    return lines, bool(holes)


def main() -> int:
    """Look all packages up."""
    if not reachable():
        sys.stdout.write(f"{_INDEX[0]} cannot be reached, so no package was looked up; run it where it can be.\n")
        return 0
    command = [sys.executable, "-m", "pip_audit", "--skip-editable", "--progress-spinner", "off", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        lines, holes = report(json.loads(done.stdout))
    except ValueError:
        sys.stderr.write(f"pip-audit gave no answer: {done.stderr[-2000:]}\n")
        return 2
    sys.stdout.write("\n".join(lines) + "\n")
    return int(holes)


if __name__ == "__main__":
    sys.exit(main())
