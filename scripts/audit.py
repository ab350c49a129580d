"""Asks the advisory database about every package of requirements.lock: scripts/audit.py

Ends with 0 where nothing is known against any of them, 1 where something is, and 2 where the database was not reached
or does not know all of them. pip-audit itself takes a package that it could not look up for one without faults, and
leaves out what is for other platforms than its own.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def verdict(told: str) -> tuple[int, str]:
    """The exit code, and what to print, for the JSON that pip-audit printed; none is a database out of reach."""
    try:
        packages = json.loads(told)["dependencies"]
    except (ValueError, KeyError):
        return 2, "The advisory database could not be asked. NOTHING WAS AUDITED."
    found = [
        f"{package['name']} {package['version']}: {flaw['id']}, mended in {', '.join(flaw['fix_versions']) or 'none'}"
        for package in packages
        for flaw in package.get("vulns", ())
    ]
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    if skipped:
        lost = "NOTHING WAS AUDITED" if len(skipped) == len(packages) else f"not audited: {', '.join(skipped)}"
        found.append(f"The advisory database answered for {len(packages) - len(skipped)} of {len(packages)}: {lost}.")
    if any("skip_reason" not in package and package["vulns"] for package in packages):
        return 1, "\n".join(found)
    return (2, "\n".join(found)) if skipped else (0, f"Nothing is known against any of {len(packages)} packages.")


def everywhere(lock: str) -> str:
    """The lock, each of its packages for every platform."""
    return re.sub(r" ; [^\\\n]*(?= \\$)", "", lock, flags=re.MULTILINE)


def main() -> int:
    """Runs pip-audit on the lock alone; it installs nothing."""
    with tempfile.NamedTemporaryFile("w", suffix=".lock") as lock:
        lock.write(everywhere((ROOT / "requirements.lock").read_text()))
        lock.flush()
        command = ["--require-hashes", "--disable-pip", "--requirement", lock.name, "--timeout", "20"]
        done = subprocess.run(  # noqa: S603 - every word of it is written above
            [sys.executable, "-m", "pip_audit", *command, "--format", "json"],
            capture_output=True,
            text=True,
            check=False,
        )
    code, line = verdict(done.stdout)
    if not done.stdout:
        print(
            done.stderr[-2000:], file=sys.stderr
        )  # why; else it says that nothing is known, even where nobody was asked
    print(line)
    return code


if __name__ == "__main__":
    sys.exit(main())
