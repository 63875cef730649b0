"""Checks of systemd units."""

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import DEVNULL

from sync.runtime.checks.check import Check, fault, passed, warning

_NAME = "service"
_ANSWER_SECONDS = 5.0
BOOTED = Path("/run/systemd/system")

# Runs a command and returns its standard output; None if it cannot be run.
Run = Callable[[Sequence[str]], str | None]


def run_command(command: Sequence[str]) -> str | None:
    """Run a system command and return its standard output; None if it cannot be run."""
    try:
        ended = subprocess.run(  # noqa: S603 - our own words, no shell
            command, stdin=DEVNULL, capture_output=True, timeout=_ANSWER_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ended.stdout.decode("utf-8", "replace")


def check_unit(unit: str, run: Run, booted: Path = BOOTED) -> Check:
    """Check that a service without a socket unit runs, and starts after a reboot."""
    if not booted.is_dir():
        return passed(_NAME, "this machine was not booted with systemd: nothing to check")
    enabled = (run(["systemctl", "is-enabled", unit]) or "").strip()
    active = (run(["systemctl", "is-active", unit]) or "").strip()
    if enabled in {"", "not-found"}:
        return passed(_NAME, f"{unit} is not installed: nothing to check")
    found = f"{unit}: {enabled}, {active or 'unknown'}"
    log = f"journalctl -u {unit.partition('.')[0]}"
    if active == "failed":
        return fault(_NAME, found, f"read the log: {log}; then systemctl restart {unit}")
    if active == "activating":
        return warning(_NAME, found, f"check again in a minute; or read the log: {log}")
    if active != "active" or not enabled.startswith("enabled"):
        return warning(_NAME, found, f"systemctl enable --now {unit}, if it is to serve here")
    return passed(_NAME, found)
