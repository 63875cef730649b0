"""A stop by systemd is told from a restart by the job of the unit."""

from pathlib import Path

import pytest

from sync.runtime.systemd.restart import is_restarting

pytestmark = pytest.mark.process

BY_SYSTEMD = {"NOTIFY_SOCKET": "/run/systemd/notify"}
JOBS = [
    pytest.param("12 loyalty-agent.service restart running", True, id="restarted"),
    pytest.param("12 loyalty-agent.service stop running", False, id="stopped"),
    pytest.param(
        "12 loyalty-agent.service stop running\n13 a.service restart waiting", False, id="another"
    ),
    pytest.param("No jobs listed.", False, id="no jobs"),
    pytest.param("", False, id="nothing"),
]


def systemctl(directory: Path, jobs: str) -> tuple[str, ...]:
    """Return a command that lists these jobs."""
    listing = directory / "jobs"
    listing.write_text(jobs)
    return ("sh", "-c", f"cat {listing}")


def control_group(directory: Path, unit: str = "loyalty-agent.service") -> Path:
    file = directory / "cgroup"
    file.write_text(f"0::/system.slice/{unit}\n")
    return file


@pytest.mark.parametrize(("jobs", "expected"), JOBS)
async def test_restart_is_known_by_the_job_of_the_own_unit(
    tmp_path: Path, jobs: str, *, expected: bool
) -> None:
    command, own = systemctl(tmp_path, jobs), control_group(tmp_path)

    assert await is_restarting(BY_SYSTEMD, command, own) is expected


async def test_process_that_no_service_manager_started_is_stopped(tmp_path: Path) -> None:
    command = systemctl(tmp_path, "12 loyalty-agent.service restart running")

    assert not await is_restarting({}, command, control_group(tmp_path))


@pytest.mark.parametrize("command", [("/nothing/there",), ("false",), ("sleep", "60")])
async def test_manager_that_does_not_answer_means_a_stop(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    assert not await is_restarting(BY_SYSTEMD, command, control_group(tmp_path))
