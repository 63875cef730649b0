"""With a wrong clock at the till, head office corrects the time or marks it as untrusted."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.clocks import WrongClock
from tests.support.shop.receivers import TILL, FaultProxy, RestartableReceiver
from tests.support.shop.shop import Shop, capturing_in, shop_at, until_there
from tests.support.till.ledger import TillLedger

pytestmark = pytest.mark.slow

WHEN = "SELECT occurred_at, corrected_at, clock_trusted FROM sessions ORDER BY epoch, sequence"
# Far more than the delay between a capture and its delivery on this machine.
NEAR = timedelta(seconds=10)
Times = tuple[datetime, datetime | None, bool]


class Machine:
    """A POS machine connected to the receiver; it can be rebooted."""

    def __init__(
        self, directory: Path, boot_file: Path, receiver: RestartableReceiver, line: FaultProxy
    ) -> None:
        self.state = directory
        self.receiver = receiver
        self.line = line
        self._boot_file = boot_file

    def boot(self, boot_id: str) -> WrongClock:
        """Reboot it; return its clock."""
        self._boot_file.write_text(boot_id)
        return WrongClock()

    def times(self) -> list[Times]:
        """Return the session start times that the receiver stores."""
        return [
            (_moment(occurred), _moment(corrected) if corrected else None, bool(trusted))
            for occurred, corrected, trusted in self.receiver.rows(WHEN)
        ]


@pytest.fixture
async def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Machine]:
    # systemd passes the boot id like this to services whose sandbox hides the kernel's.
    boot_file = tmp_path / "boot-id"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    async with (
        RestartableReceiver(tmp_path / "receiver") as receiver,
        FaultProxy(receiver.url) as line,
    ):
        await receiver.enroll()
        yield Machine(tmp_path / "state", boot_file, receiver, line)


def shop_of(
    machine: Machine, ledger: TillLedger, clock: WrongClock
) -> AbstractAsyncContextManager[Shop]:
    """Open the machine's shop, delivering to the receiver."""
    token_file = machine.receiver.directory / f"{TILL}.token"
    return shop_at(
        machine.state, machine.line.url, "batch", ledger, token_file=token_file, clock=clock
    )


async def test_captures_of_1970_are_corrected_once_clock_is_right(machine: Machine) -> None:
    clock, began = machine.boot("boot-1"), datetime.now(UTC)
    await machine.line.stop()
    async with shop_of(machine, TillLedger(), clock) as shop:
        clock.fall_to_1970()
        await shop.trade(3, tills=1)
        clock.wrong_by_us = 0
        await shop.trade(3, tills=1)
        await machine.line.start()
        await shop.delivered()
    times = machine.times()
    assert [occurred.year == 1970 for occurred, _, _ in times] == [True] * 3 + [False] * 3
    assert all(trusted for _, _, trusted in times)
    corrected = [at for _, at, _ in times if at]
    assert corrected == sorted(corrected)
    assert all(began - NEAR < at < began + NEAR for at in corrected)


async def test_captures_of_1970_are_corrected_although_clock_stays_wrong(
    machine: Machine,
) -> None:
    clock, began = machine.boot("boot-1"), datetime.now(UTC)
    clock.fall_to_1970()
    async with shop_of(machine, TillLedger(), clock) as shop:
        await shop.trade(3)
        await shop.delivered()
    times = machine.times()
    assert len(times) == 3
    assert all(at and began - NEAR < at < began + NEAR for _, at, _ in times)


async def test_captures_of_previous_boot_are_corrected_if_head_office_knows_that_boot(
    machine: Machine,
) -> None:
    clock, ledger, began = machine.boot("boot-1"), TillLedger(), datetime.now(UTC)
    clock.fall_to_1970()
    async with shop_of(machine, ledger, clock) as shop:
        await until_there(lambda: machine.receiver.rows("SELECT boot_id FROM boots"), 1)
        await machine.line.stop()
        await shop.trade(3)
    await machine.line.start()
    async with shop_of(machine, ledger, machine.boot("boot-2")) as shop:
        await shop.delivered()
    times = machine.times()
    assert len(times) == 3
    assert all(at and began - NEAR < at < began + NEAR for _, at, _ in times)


async def test_captures_of_unknown_boot_in_1970_are_marked_untrusted(
    machine: Machine,
) -> None:
    clock, ledger = machine.boot("boot-1"), TillLedger()
    clock.fall_to_1970()
    async with capturing_in(machine.state, ledger, clock=clock) as shop:
        await shop.trade(2)
    async with shop_of(machine, ledger, machine.boot("boot-2")) as shop:
        await shop.trade(2)
        await shop.delivered()
    found = [(at is not None, trusted) for _, at, trusted in machine.times()]
    assert found == [(False, False)] * 2 + [(True, True)] * 2


def _moment(text: object) -> datetime:
    assert isinstance(text, str)
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
