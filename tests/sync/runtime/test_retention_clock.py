"""The clock for retention follows the wall clock by no more time than has really passed."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.runtime.retention_clock import CLOCK_FILE, EARLIEST_US, Reading, RetentionClock

SECOND_US = 1_000_000
HOUR_US, DAY_US = 3_600 * SECOND_US, 86_400 * SECOND_US
YEAR_US = 365 * DAY_US
TODAY_US = round(datetime(2026, 6, 1, tzinfo=UTC).timestamp()) * SECOND_US


class Machine:
    """A machine with both clocks, and the retention clock in its directory."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / CLOCK_FILE
        self.true_us = TODAY_US
        self.lead_us = 0
        self.boots = 0
        self.boot()

    def boot(self) -> None:
        """Boot it at the present time."""
        self.boots += 1
        self._booted_us = self.true_us
        self.restart()

    def restart(self) -> None:
        """Start the program."""
        self.now = RetentionClock(self.file, f"boot-{self.boots}", self.clocks)

    def clocks(self) -> tuple[int, int]:
        return self.true_us + self.lead_us, self.true_us - self._booted_us


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


async def test_right_clock_is_followed_exactly(machine: Machine) -> None:
    for _ in range(48):
        assert await machine.now() == machine.true_us
        machine.true_us += HOUR_US


async def test_machine_that_is_switched_off_at_night_keeps_up(machine: Machine) -> None:
    for _ in range(30):
        assert await machine.now() == machine.true_us
        machine.true_us += 8 * HOUR_US
        assert await machine.now() == machine.true_us
        machine.true_us += 16 * HOUR_US
        machine.boot()


@pytest.mark.parametrize("restarts", [False, True])
async def test_clock_set_years_ahead_for_a_day_gains_a_day(
    machine: Machine, *, restarts: bool
) -> None:
    await machine.now()
    machine.lead_us = 10 * YEAR_US
    for _ in range(24):
        if restarts:
            machine.restart()
        machine.true_us += HOUR_US
        assert await machine.now() <= machine.true_us + DAY_US
    machine.lead_us = 0

    assert await machine.now() == machine.true_us


async def test_reboot_into_the_future_gains_a_day(machine: Machine) -> None:
    await machine.now()
    machine.lead_us = YEAR_US
    machine.boot()

    assert await machine.now() == machine.true_us + DAY_US


async def test_boot_in_1970_that_steps_to_today_follows_in_the_end(machine: Machine) -> None:
    machine.lead_us = -machine.true_us
    assert await machine.now() == 0
    machine.true_us += HOUR_US
    machine.lead_us = 0

    assert await machine.now() == machine.true_us


async def test_clock_that_stays_wrong_is_followed_in_the_end(machine: Machine) -> None:
    await machine.now()
    machine.lead_us = 20 * DAY_US
    for _ in range(20):
        machine.true_us += DAY_US
        await machine.now()

    assert await machine.now() == machine.true_us + machine.lead_us


async def test_clock_that_was_ahead_at_the_first_start_comes_back(machine: Machine) -> None:
    machine.lead_us = 20 * DAY_US
    await machine.now()
    machine.lead_us = 0
    for _ in range(20):
        machine.true_us += DAY_US
        assert await machine.now() == machine.true_us
    machine.lead_us = YEAR_US

    assert await machine.now() <= machine.true_us + DAY_US


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"at_us":"x","boot_id":"","boot_us":1}', b"\xff"]
)
async def test_unreadable_file_is_written_anew(machine: Machine, content: bytes) -> None:
    machine.file.write_bytes(content)

    assert await machine.now() == machine.true_us
    machine.restart()
    machine.lead_us = YEAR_US
    assert await machine.now() == machine.true_us


async def test_full_disk_costs_nothing(machine: Machine) -> None:
    machine.file.mkdir()

    assert await machine.now() == machine.true_us


@given(steps=st.lists(st.tuples(st.integers(0, 30 * DAY_US), st.integers(-YEAR_US, 9 * YEAR_US))))
def test_gain_is_bounded_by_the_time_that_passed(steps: list[tuple[int, int]]) -> None:
    reading, passed_us = Reading(TODAY_US, "boot", 0), 0
    for more_us, lead_us in steps:
        passed_us += more_us
        wall_us = max(TODAY_US + passed_us + lead_us, EARLIEST_US)
        before, reading = reading, reading.followed(wall_us, "boot", passed_us)
        assert abs(reading.at_us - before.at_us) <= 2 * more_us
        assert abs(wall_us - reading.at_us) <= abs(wall_us - before.at_us)
