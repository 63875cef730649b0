"""The service is restarted where systemd runs it with this configuration, and nowhere else."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from agent.joining.restart_service import UNIT, Restart, Run, restart_service

OK, NO = 0, 1


def systemctl(asked: list[str], **ends: int | None) -> Run:
    """Return a systemctl with these answers; `asked` collects its verbs."""

    def run(command: Sequence[str]) -> int | None:
        program, verb, unit = command
        assert (program, unit) == ("systemctl", UNIT)
        asked.append(verb)
        return ends[verb.replace("-", "_")]

    return run


@pytest.mark.parametrize(
    ("enabled", "active", "restarted", "outcome"),
    [
        (OK, OK, OK, Restart.DONE),
        (OK, NO, OK, Restart.DONE),
        (NO, OK, OK, Restart.DONE),
        (OK, OK, NO, Restart.FAILED),
        (OK, OK, None, Restart.FAILED),
    ],
)
def test_enabled_or_running_service_is_restarted(
    tmp_path: Path, enabled: int, active: int, restarted: int | None, outcome: Restart
) -> None:
    asked: list[str] = []
    run = systemctl(asked, is_enabled=enabled, is_active=active, restart=restarted)

    assert restart_service(run, is_service=True, booted=tmp_path) is outcome
    assert asked[-1] == "restart"


def test_disabled_service_stays_stopped(tmp_path: Path) -> None:
    asked: list[str] = []
    run = systemctl(asked, is_enabled=NO, is_active=NO)

    assert restart_service(run, is_service=True, booted=tmp_path) is Restart.NOT_OURS
    assert "restart" not in asked


def test_machine_without_systemd_is_left_alone(tmp_path: Path) -> None:
    asked: list[str] = []

    outcome = restart_service(systemctl(asked), is_service=True, booted=tmp_path / "absent")

    assert (outcome, asked) == (Restart.NOT_OURS, [])


def test_agent_with_another_configuration_than_the_services_is_left_alone(tmp_path: Path) -> None:
    asked: list[str] = []

    outcome = restart_service(systemctl(asked), is_service=False, booted=tmp_path)

    assert (outcome, asked) == (Restart.NOT_OURS, [])
