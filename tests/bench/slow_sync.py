"""Builds and checks the simulated slow disk: slow_sync.c, preloaded into servers."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.bench.disk import commit_seconds

SOURCE = Path(__file__).with_name("slow_sync.c")
POS_DISK_SECONDS = 0.004
"""Time of a sync on a POS machine's disk."""


class SlowSyncError(RuntimeError):
    """The slow disk is not available on this machine."""


def build(directory: Path, delay_seconds: float = POS_DISK_SECONDS) -> dict[str, str]:
    """Compile the library into `directory`; return the environment variables that preload it.

    Raises SlowSyncError without a compiler, or if the library has no effect on this interpreter.
    """
    library = compile_library(directory)
    environment = {
        "LD_PRELOAD": str(library),
        "SLOW_SYNC_MICROSECONDS": str(round(delay_seconds * 1e6)),
    }
    check(directory, environment, delay_seconds)
    return environment


def compile_library(directory: Path) -> Path:
    """Compile slow_sync.c. Raises SlowSyncError."""
    compiler = shutil.which("gcc")
    if compiler is None:
        raise SlowSyncError("gcc is not installed: the part with slow syncs needs it (apt: gcc)")
    library = directory / "slow_sync.so"
    command = [
        compiler,
        "-O2",
        "-Wall",
        "-shared",
        "-fPIC",
        "-o",
        str(library),
        str(SOURCE),
        "-ldl",
    ]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode:
        raise SlowSyncError(f"gcc could not compile {SOURCE.name}: {built.stderr}")
    return library


def check(directory: Path, environment: dict[str, str], delay_seconds: float) -> None:
    """Check that an SQLite commit in this interpreter is delayed. Raises SlowSyncError."""
    took = commit_seconds(directory, environment)
    if took < delay_seconds:
        raise SlowSyncError(
            f"{sys.executable} commits in {took * 1000:.2f} ms with {SOURCE.name} preloaded, less"
            f" than the {delay_seconds * 1000:.0f} ms it adds: is the interpreter static?"
        )
