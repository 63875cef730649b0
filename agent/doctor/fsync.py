"""Check that fdatasync reaches the medium: a volatile write cache answers too fast."""

import os
import statistics
import tempfile
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from agent.doctor.mounts import Mount
from sync.runtime.checks.check import Check, fault, passed, warning

_NAME = "fsync"
_SAMPLES = 25
_PAGE = b"\xa5" * 4096
# One revolution at 15,000 rpm takes 4 ms; the mean rotational latency is half of that.
_FASTEST_ROTATING_SECONDS = 0.001
# A good SSD with power-loss protection, including the bus.
_FASTEST_SECONDS = 0.000_05
_SLOW_SECONDS = 0.1


class Medium(StrEnum):
    """Storage medium according to the kernel."""

    ROTATING = "rotating disk"
    SOLID_STATE = "solid state disk"
    VIRTUAL = "virtual disk"
    UNKNOWN = "unknown medium"


def check_fsync(directory: Path, medium: Medium, seconds: Callable[[], float]) -> Check:
    """Measure how long a sync takes and judge if synced data can have reached the medium."""
    try:
        median = measure_fsync(directory, seconds)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        advice = "fix the storage directory and the free disk space first"
        return fault(_NAME, f"cannot write and sync a temporary file ({reason})", advice)
    return judge_fsync(median, medium)


def judge_fsync(median_seconds: float, medium: Medium) -> Check:
    """Judge if data synced in `median_seconds` can have reached the medium."""
    found = f"{median_seconds * 1000:.2f} ms per sync, {medium}"
    fastest = _FASTEST_ROTATING_SECONDS if medium is Medium.ROTATING else _FASTEST_SECONDS
    if median_seconds < fastest:
        advice = (
            "make sure that the write cache of disk and controller survives a power cut, else"
            " disable it (hdparm -W0): acknowledged captures can be lost"
        )
        return warning(_NAME, f"{found}: suspiciously fast", advice)
    if median_seconds > _SLOW_SECONDS:
        advice = "each till waits that long: check for a failing disk"
        return warning(_NAME, f"{found}: slow", advice)
    return passed(_NAME, found)


def measure_fsync(directory: Path, seconds: Callable[[], float]) -> float:
    """Sync a page repeatedly in a scratch file; return the median seconds. Raises `OSError`."""
    with tempfile.TemporaryFile(prefix=".doctor-", dir=directory) as scratch:
        file = scratch.fileno()
        os.posix_fallocate(file, 0, len(_PAGE))
        os.fsync(file)
        durations = []
        for _ in range(_SAMPLES):
            os.pwrite(file, _PAGE, 0)
            began = seconds()
            os.fdatasync(file)
            durations.append(seconds() - began)
    return statistics.median(durations)


def read_medium(mount: Mount | None, sys: Path = Path("/sys")) -> Medium:
    """Return the medium of a mount's device; inside a virtual machine this is unreliable."""
    if mount is None or not mount.source.startswith("/dev/"):
        return Medium.UNKNOWN
    if Path(mount.source).name.startswith(("vd", "xvd", "nbd")):
        return Medium.VIRTUAL
    try:
        number = Path(mount.source).stat().st_rdev
        device = (sys / f"dev/block/{os.major(number)}:{os.minor(number)}").resolve(strict=True)
        # A partition has no queue directory; its parent disk has.
        disk = device if (device / "queue").is_dir() else device.parent
        is_rotating = (disk / "queue/rotational").read_text("ascii").strip() == "1"
    except OSError:
        return Medium.UNKNOWN
    return Medium.ROTATING if is_rotating else Medium.SOLID_STATE
