"""Tells a restart by systemd from a stop.

The signal is the same: `systemctl restart` and an upgrade stop the service as a shutdown does. The
service manager knows it as the type of the unit's job.
"""

import asyncio
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Mapping, Sequence
from pathlib import Path

_ANSWER_SECONDS = 0.5
_RESTARTS = {"restart", "try-restart", "reload-or-start"}
_OWN_CGROUP = Path("/proc/self/cgroup")


async def is_restarting(
    environ: Mapping[str, str],
    command: Sequence[str] = ("systemctl",),
    own_cgroup: Path = _OWN_CGROUP,
) -> bool:
    """Return whether systemd stops this service to start it again; False if that is unknown.

    Takes `_ANSWER_SECONDS` at most, and no time if no service manager started this process.
    """
    unit = _unit_of(own_cgroup) if environ.get("NOTIFY_SOCKET") else None
    if unit is None:
        return False
    jobs = await _output(*command, "list-jobs", "--no-legend", "--plain")
    return any(_is_restart_of(unit, line.split()) for line in jobs.splitlines())


def _unit_of(cgroup_file: Path) -> str | None:
    """Return the unit of this process, by its control group: `0::/system.slice/UNIT`."""
    try:
        name = cgroup_file.read_text("utf-8").strip().rpartition("/")[2]
    except (OSError, UnicodeDecodeError):
        return None
    return name if name.endswith(".service") else None


def _is_restart_of(unit: str, job: Sequence[str]) -> bool:
    """Return whether a line of `list-jobs` (number, unit, type, state) is a restart of the unit."""
    return len(job) >= 3 and job[1] == unit and job[2] in _RESTARTS  # noqa: PLR2004 - see above


async def _output(*command: str) -> str:
    """Return the standard output of a command; empty if it fails or takes too long."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL
        )
    except OSError:
        return ""
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return ""
    return output.decode("utf-8", "replace")
