"""Restarts the agent's service where systemd runs it, so that it loads token and settings."""

from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path

from sync.runtime.checks.units import BOOTED, run_to_end

UNIT = "loyalty-agent.service"
# The first start of a new version may migrate a large database; then the command says so.
_RESTART_SECONDS = 120.0
# Runs a command and returns its exit code; None if it cannot be run.
Run = Callable[[Sequence[str]], int | None]


class Restart(Enum):
    """Outcome of a restart. `NOT_OURS`: systemd does not run the agent with this configuration."""

    DONE = "done"
    FAILED = "failed"
    NOT_OURS = "not ours"


def restart_service(run: Run, *, is_service: bool, booted: Path = BOOTED) -> Restart:
    """Restart the service, unless it is not enabled or has another configuration.

    systemd holds the tills' socket meanwhile, so no till is rejected.
    """
    if not is_service or not booted.is_dir():
        return Restart.NOT_OURS
    enabled, active = (run(["systemctl", verb, UNIT]) for verb in ("is-enabled", "is-active"))
    if 0 not in {enabled, active}:
        return Restart.NOT_OURS
    return Restart.DONE if run(["systemctl", "restart", UNIT]) == 0 else Restart.FAILED


def exit_code_of(command: Sequence[str]) -> int | None:
    """Run a system command; return its exit code, None if it cannot be run or takes too long."""
    ended = run_to_end(command, _RESTART_SECONDS)
    return None if ended is None else ended.returncode
