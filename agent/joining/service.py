"""Restarts the agent's service where systemd runs it, so that it loads token and settings."""

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

UNIT = "loyalty-agent.service"
# The first start of a new version may migrate a large database; then the command says so.
_RESTART_SECONDS = 120.0
_BOOTED = Path("/run/systemd/system")
# Runs a command and returns its exit code and standard output; None if it cannot be run.
Run = Callable[[Sequence[str]], "Ended | None"]


@dataclass(frozen=True, slots=True)
class Ended:
    """An ended command."""

    code: int
    output: str


class Restart(Enum):
    """Outcome of a restart. `NOT_OURS`: systemd does not run the agent with this configuration."""

    DONE = "done"
    FAILED = "failed"
    NOT_OURS = "not ours"


def restart_service(run: Run, *, is_service: bool, booted: Path = _BOOTED) -> Restart:
    """Restart the service, unless it is not enabled or has another configuration.

    systemd holds the tills' socket meanwhile, so no till is rejected.
    """
    if not is_service or not booted.is_dir():
        return Restart.NOT_OURS
    enabled, active = (run(["systemctl", verb, UNIT]) for verb in ("is-enabled", "is-active"))
    if not any(one is not None and one.code == 0 for one in (enabled, active)):
        return Restart.NOT_OURS
    restarted = run(["systemctl", "restart", UNIT])
    return Restart.DONE if restarted is not None and restarted.code == 0 else Restart.FAILED


def run_command(command: Sequence[str]) -> Ended | None:
    """Run a system command; None if it cannot be run, or takes too long."""
    try:
        ended = subprocess.run(  # noqa: S603 - our own words, no shell
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_RESTART_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return Ended(ended.returncode, ended.stdout.decode("utf-8", "replace"))
