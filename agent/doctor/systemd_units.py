"""Check of the systemd units: running now, and enabled at boot."""

from dataclasses import dataclass
from pathlib import Path

from sync.runtime.checks.check import Check, fault, passed, warning
from sync.runtime.checks.units import BOOTED, Run, rejected_configuration

SERVICE, SOCKET = "loyalty-agent.service", "loyalty-agent.socket"
_NAME = "service"
_STARTS = frozenset({"enabled", "enabled-runtime", "static", "indirect", "alias", "generated"})
_CORRECT = "correct the configuration, then: systemctl reload loyalty-agent"
_LOG = "journalctl -u loyalty-agent"


@dataclass(frozen=True, slots=True)
class UnitState:
    """Output of `systemctl is-enabled` and `is-active` for a unit."""

    enabled: str
    active: str

    @property
    def is_there(self) -> bool:
        """Return whether the unit is installed."""
        return self.enabled not in {"", "not-found"}

    @property
    def starts(self) -> bool:
        """Return whether it starts at boot, directly or through another unit."""
        return self.enabled in _STARTS


def check_units(run: Run, booted: Path = BOOTED) -> Check:
    """Check that the agent runs as a service and restarts after a power cut."""
    if not booted.is_dir():
        return passed(_NAME, "this machine was not booted with systemd: nothing to check")
    service, socket = _state(run, SERVICE), _state(run, SOCKET)
    if not service.is_there:
        advice = "install the package, or make sure that the agent starts after a power cut"
        return warning(_NAME, f"{SERVICE} is not installed", advice)
    there = {SERVICE: service, **({SOCKET: socket} if socket.is_there else {})}
    states = "; ".join(f"{name}: {unit.enabled}, {unit.active}" for name, unit in there.items())
    if (problem := _problem(service, socket, rejected_configuration(SERVICE, run))) is not None:
        found, advice = problem
        return fault(_NAME, f"{states}: {found}", advice)
    if service.active == "activating":
        # systemd restarts it forever after repeated failures (StartLimitIntervalSec=0).
        advice = f"check again in a minute; if it is still starting, read the log: {_LOG}"
        return warning(_NAME, f"{states}: it is starting", advice)
    if socket.is_there and not (socket.starts and socket.active == "active"):
        advice = f"systemctl enable --now {SOCKET}: then a restart rejects no till"
        return warning(_NAME, states, advice)
    return passed(_NAME, states)


def _problem(service: UnitState, socket: UnitState, rejected: str) -> tuple[str, str] | None:
    """Return why the service is down, wrongly configured or not enabled, and the fix; else None.

    `rejected` is the service's message on a configuration that it rejected; empty if none.
    """
    units = f"{SOCKET} {SERVICE}" if socket.is_there else SERVICE
    if service.enabled == "masked":
        return "it can never start", f"systemctl unmask {SERVICE}"
    if "failed" in {service.active, socket.active}:
        return "it failed", f"read the log: {_LOG}; then systemctl restart loyalty-agent"
    if not service.starts:
        return "it does not start at boot", f"systemctl enable --now {units}"
    if rejected:
        return rejected, _CORRECT
    if service.active == "inactive" and socket.active != "active":
        return "it is not running", f"systemctl start {units}"
    return None


def _state(run: Run, unit: str) -> UnitState:
    enabled = run(["systemctl", "is-enabled", unit]) or ""
    active = run(["systemctl", "is-active", unit]) or ""
    return UnitState(enabled.strip(), active.strip() or "unknown")
