"""Runs all checks before a commit: format, lint, types, imports, tests."""

import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parent.parent
SCRIPTS = Path(sysconfig.get_path("scripts"))
CHECKS = (
    ("format", (SCRIPTS / "ruff", "format", "--check", "--quiet", ".")),
    ("lint", (SCRIPTS / "ruff", "check", "--quiet", ".")),
    ("types", (SCRIPTS / "mypy", "--no-error-summary")),
    ("imports", (SCRIPTS / "lint-imports", "--no-cache")),
    ("tests", (sys.executable, "-m", "pytest", "--numprocesses=2", "--dist=worksteal")),
)


def main() -> int:
    """Run every check, also after a failed one; return 1 if any failed."""
    failed = []
    for name, command in CHECKS:
        print(f"== {name}", flush=True)
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
