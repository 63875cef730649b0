"""Check of the systemd units."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from agent.doctor.systemd_units import SERVICE, SOCKET, UnitState, check_units
from sync.runtime.checks.check import Verdict
from sync.runtime.checks.units import Run, run_command

ON = UnitState("enabled", "active")
GONE = UnitState("not-found", "inactive")


def systemctl(service: UnitState, socket: UnitState, status: str = "") -> Run:
    """Return a command runner that answers as systemctl would with these units.

    `status` is the service's text for systemd.
    """
    states = {SERVICE: service, SOCKET: socket}

    def run(command: Sequence[str]) -> str | None:
        program, verb, *_, unit = command
        assert program == "systemctl"
        state = states[unit]
        if verb == "show":
            return f"StatusText={status}\nActiveState={state.active}\n"
        return {"is-enabled": state.enabled, "is-active": state.active}[verb] + "\n"

    return run


@pytest.mark.parametrize(
    ("service", "socket", "verdict", "advice"),
    [
        (ON, ON, Verdict.PASS, ""),
        (ON, GONE, Verdict.PASS, ""),
        (UnitState("enabled", "activating"), ON, Verdict.WARNING, "journalctl -u loyalty-agent"),
        (UnitState("enabled", "inactive"), ON, Verdict.PASS, ""),
        (GONE, GONE, Verdict.WARNING, "install the package"),
        (UnitState("", "unknown"), UnitState("", "unknown"), Verdict.WARNING, "install"),
        (UnitState("masked", "inactive"), ON, Verdict.FAULT, "systemctl unmask"),
        (UnitState("enabled", "failed"), ON, Verdict.FAULT, "journalctl -u loyalty-agent"),
        (ON, UnitState("enabled", "failed"), Verdict.FAULT, "journalctl -u loyalty-agent"),
        (UnitState("disabled", "active"), GONE, Verdict.FAULT, "systemctl enable --now"),
        (UnitState("enabled", "inactive"), GONE, Verdict.FAULT, "systemctl start"),
        (ON, UnitState("disabled", "active"), Verdict.WARNING, "loyalty-agent.socket"),
        (ON, UnitState("enabled", "inactive"), Verdict.WARNING, "loyalty-agent.socket"),
    ],
)
def test_units_verdict_covers_now_and_after_reboot(
    tmp_path: Path, service: UnitState, socket: UnitState, verdict: Verdict, advice: str
) -> None:
    check = check_units(systemctl(service, socket), booted=tmp_path)

    assert check.verdict is verdict
    assert advice in check.advice


def test_service_on_an_earlier_configuration_is_a_fault(tmp_path: Path) -> None:
    status = "Uses the configuration of 2026-03-04T05:06:07Z. Wrong: till.toml, line 6: api.prot"

    check = check_units(systemctl(ON, ON, status), booted=tmp_path)

    assert check.verdict is Verdict.FAULT
    assert status in check.found
    assert "systemctl reload loyalty-agent" in check.advice


def test_state_of_both_units_is_shown(tmp_path: Path) -> None:
    check = check_units(systemctl(ON, ON), booted=tmp_path)

    assert check.found == f"{SERVICE}: enabled, active; {SOCKET}: enabled, active"


def test_machine_without_systemd_passes(tmp_path: Path) -> None:
    assert check_units(run_command, booted=tmp_path / "absent").verdict is Verdict.PASS


@pytest.mark.process
def test_missing_command_returns_none() -> None:
    assert run_command(["no-such-command-of-any-system"]) is None


@pytest.mark.process
def test_command_output_is_returned_for_any_exit_code() -> None:
    assert run_command(["sh", "-c", "echo inactive; exit 3"]) == "inactive\n"
