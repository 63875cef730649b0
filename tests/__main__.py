"""Runs all checks before a commit: format, lint, types, imports, tests.

`--fast` leaves out the tests that start processes, PostgreSQL or a browser, and the slow ones.
"""

import argparse
import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
SCRIPTS = Path(sysconfig.get_path("scripts"))
SLOWEST_SHOWN = 10
NOT_FAST = ("process", "postgresql", "browser", "slow", "campaign", "machine")
# Imports of these alone take seconds, and none of their tests is fast.
NOT_COLLECTED = ("tests/agent/api/test_openapi_conformance.py", "tests/crash", "tests/machine")
# Without cached bytecode, collecting takes twice as long, and so does the start of each process.
BYTECODE = {
    "PYTHONDONTWRITEBYTECODE": "",
    "PYTHONPYCACHEPREFIX": str(ROOT / ".pytest_cache" / "bytecode"),
}
CHECKS = (
    ("format", (SCRIPTS / "ruff", "format", "--check", "--quiet", ".")),
    ("lint", (SCRIPTS / "ruff", "check", "--quiet", ".")),
    ("types", (SCRIPTS / "mypy", "--no-error-summary")),
    ("imports", (SCRIPTS / "lint-imports", "--no-cache")),
)
PYTEST = (
    *(sys.executable, "-m", "pytest", "--dist=worksteal"),
    *(f"--durations={SLOWEST_SHOWN}", "--durations-min=0.5"),
)
# Fast tests keep a core busy each. Those with processes wait a quarter of their time.
FAST_WORKERS, WORKERS = 2, 3


def main() -> int:
    """Run every check, also after a failed one; return 1 if any failed."""
    parser = argparse.ArgumentParser(prog="python -m tests", description=__doc__)
    parser.add_argument("--fast", action="store_true", help="leave out what takes minutes")
    fast = parser.parse_args().fast
    workers = f"--numprocesses={FAST_WORKERS if fast else WORKERS}"
    tests = [*PYTEST, workers, *(fast_options() if fast else [])]
    failed = [name for name, command in (*CHECKS, ("tests", tests)) if not passes(name, command)]
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def fast_options() -> list[str]:
    """Return the options that leave out slow tests and shorten Hypothesis' runs."""
    markers = " and ".join(f"not {marker}" for marker in NOT_FAST)
    ignored = [f"--ignore={path}" for path in NOT_COLLECTED]
    return ["-m", markers, "--hypothesis-profile=fast", "-p", "no:schemathesis", *ignored]


def passes(name: str, command: Sequence[str | Path]) -> bool:
    """Run a check and print the time it took; return whether it passed."""
    print(f"== {name}", flush=True)
    started = time.monotonic()
    code = subprocess.run(command, cwd=ROOT, env=os.environ | BYTECODE, check=False).returncode
    print(f"   {time.monotonic() - started:.0f} s", flush=True)
    return code == 0


if __name__ == "__main__":
    raise SystemExit(main())
