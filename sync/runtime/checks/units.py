"""Checks of systemd units, and of the configuration that a running service uses.

systemd is asked: it knows, for every user, whether a process serves or only tries to start.
"""

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import DEVNULL

from sync.runtime.checks.check import Check, fault, passed, warning
from sync.runtime.systemd.notify import USES_EARLIER

_NAME = "service"
_ANSWER_SECONDS = 5.0
_SERVES = {"active", "reloading"}
BOOTED = Path("/run/systemd/system")

# Runs a command and returns its standard output; None if it cannot be run.
Run = Callable[[Sequence[str]], str | None]


def run_command(command: Sequence[str]) -> str | None:
    """Run a system command and return its standard output; None if it cannot be run."""
    ended = run_to_end(command, _ANSWER_SECONDS)
    return None if ended is None else ended.stdout.decode("utf-8", "replace")


def run_to_end(command: Sequence[str], seconds: float) -> subprocess.CompletedProcess[bytes] | None:
    """Run a system command; return None if it cannot be run, or takes longer than `seconds`."""
    try:
        return subprocess.run(  # noqa: S603 - our own words, no shell
            command, stdin=DEVNULL, capture_output=True, timeout=seconds, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


def check_unit(unit: str, run: Run, booted: Path = BOOTED) -> Check:
    """Check that a service without a socket unit runs, and starts after a reboot."""
    if not booted.is_dir():
        return passed(_NAME, "this machine was not booted with systemd: nothing to check")
    enabled = (run(["systemctl", "is-enabled", unit]) or "").strip()
    active = (run(["systemctl", "is-active", unit]) or "").strip()
    if enabled in {"", "not-found"}:
        return passed(_NAME, f"{unit} is not installed: nothing to check")
    found = f"{unit}: {enabled}, {active or 'unknown'}"
    name = unit.partition(".")[0]
    log = f"journalctl -u {name}"
    rejected = rejected_configuration(unit, run)
    if rejected or active == "failed":
        advice = f"read the log: {log}; then systemctl restart {unit}"
        if rejected:
            found = f"{found}: {rejected}"
            advice = f"correct the configuration, then: systemctl reload {name}"
        return fault(_NAME, found, advice)
    if active == "activating":
        return warning(_NAME, found, f"check again in a minute; or read the log: {log}")
    if active != "active" or not enabled.startswith("enabled"):
        return warning(_NAME, found, f"systemctl enable --now {unit}, if it is to serve here")
    return passed(_NAME, found)


def rejected_configuration(unit: str, run: Run) -> str:
    """Return the status text of a service that rejected its configuration; else empty."""
    shown = _shown(unit, run)
    text = shown.get("StatusText", "") if shown.get("ActiveState") in _SERVES else ""
    return text if text.startswith(USES_EARLIER) else ""


def earlier_configuration(program_name: str, run: Run, booted: Path) -> str:
    """Return that the service runs although its configuration is wrong; empty if it does not."""
    unit = f"{program_name}.service"
    if not booted.is_dir() or _shown(unit, run).get("ActiveState") not in _SERVES:
        return ""
    rejected = rejected_configuration(unit, run).removeprefix(USES_EARLIER).split()
    since = f", that of {rejected[0].removesuffix('.')}" if rejected else ""
    return (
        f"{unit} runs on the last configuration that worked{since}. Correct this one, then:"
        f" systemctl reload {program_name}"
    )


def _shown(unit: str, run: Run) -> dict[str, str]:
    output = run(["systemctl", "show", "--property=ActiveState,StatusText", unit]) or ""
    return dict(line.split("=", 1) for line in output.splitlines() if "=" in line)
