"""The one command before every commit: format, lint, types, imports, tests."""

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
    """Run every check, whether the one before failed or not; return 1 if any did."""
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
