"""The disks of benchmarks: scratch directories on a real one with its commit time, and a slow one.

The slow one is simulated: slow_sync.c, preloaded into servers.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

SOURCE = Path(__file__).with_name("slow_sync.c")
POS_DISK_SECONDS = 0.004
"""Time of a sync on a POS machine's disk."""

IN_MEMORY = frozenset({"tmpfs", "ramfs"})
TIMED_COMMITS = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA journal_mode=WAL")
connection.execute("PRAGMA synchronous=FULL")
connection.execute("CREATE TABLE IF NOT EXISTS t (n)")
took = []
for n in range(10):
    start = time.monotonic()
    connection.execute("INSERT INTO t VALUES (?)", (n,))
    took.append(time.monotonic() - start)
print(sorted(took)[5])
"""


@contextmanager
def scratch(parent: Path | None) -> Iterator[Path]:
    """Create a directory in `parent` (default: the user's cache); remove it afterwards."""
    parent = parent or user_cache() / "loyalty-agent-bench"
    parent.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="run-", dir=parent))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def user_cache() -> Path:
    """Return the user's cache directory."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def file_system(path: Path) -> str | None:
    """Return the file system type of `path`; None if /proc is not available."""
    try:
        mounts = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return None
    held: tuple[str, str] | None = None
    for _, point, kind, *_ in map(str.split, mounts):
        # ">=": of two mounts on one mount point, the later one is visible.
        if path.resolve().is_relative_to(point) and len(point) >= len(held[0] if held else ""):
            held = point, kind
    return held[1] if held else None


def commit_seconds(directory: Path, environment: Mapping[str, str] | None = None) -> float:
    """Return the median time of a durable commit in `directory`, in a separate process."""
    # sys.executable, not "python": `environment` could act on a version manager's shim instead.
    finished = subprocess.run(
        [sys.executable, "-c", TIMED_COMMITS, str(directory / "check.db")],
        env=os.environ | (environment or {}),
        capture_output=True,
        text=True,
        check=True,
    )
    return float(finished.stdout)


class SlowSyncError(RuntimeError):
    """The slow disk is not available on this machine."""


def build_slow_sync(directory: Path, delay_seconds: float = POS_DISK_SECONDS) -> dict[str, str]:
    """Compile the library into `directory`; return the environment variables that preload it.

    Raises SlowSyncError without a compiler, or if the library has no effect on this interpreter.
    """
    library = _compile_library(directory)
    environment = {
        "LD_PRELOAD": str(library),
        "SLOW_SYNC_MICROSECONDS": str(round(delay_seconds * 1e6)),
    }
    _check(directory, environment, delay_seconds)
    return environment


def _compile_library(directory: Path) -> Path:
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


def _check(directory: Path, environment: dict[str, str], delay_seconds: float) -> None:
    """Check that an SQLite commit in this interpreter is delayed. Raises SlowSyncError."""
    took = commit_seconds(directory, environment)
    if took < delay_seconds:
        raise SlowSyncError(
            f"{sys.executable} commits in {took * 1000:.2f} ms with {SOURCE.name} preloaded, less"
            f" than the {delay_seconds * 1000:.0f} ms it adds: is the interpreter static?"
        )
