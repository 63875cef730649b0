"""systemd restarts the agent after any failure, and no till is refused meanwhile."""

import asyncio
import os
import signal

import pytest

from tests.machine.load import assert_no_till_affected, tills_connecting
from tests.machine.service import UNIT, Service
from tests.support.faults.strace import injected
from tests.support.till.ledger import TillLedger

pytestmark = pytest.mark.machine
RESTARTS = 5
ACKNOWLEDGED_BETWEEN = 300
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"


async def wait_for_captures(ledger: TillLedger) -> None:
    """Wait until the service has acknowledged ACKNOWLEDGED_BETWEEN more captures."""
    enough = len(ledger.acknowledged) + ACKNOWLEDGED_BETWEEN
    while len(ledger.acknowledged) < enough:
        ledger.any_acknowledged.clear()
        await ledger.any_acknowledged.wait()


async def test_restart_under_load_refuses_no_connection_and_loses_no_capture(
    service: Service,
) -> None:
    ledger = TillLedger()
    async with tills_connecting(service, ledger) as tills:
        for _ in range(RESTARTS):
            await wait_for_captures(ledger)
            await service.run_in_thread(service.machine.run, "systemctl", "restart", UNIT)
        await wait_for_captures(ledger)
    print(
        f"{RESTARTS} restarts, {len(ledger.acknowledged)} acknowledged,"
        f" longest wait {tills.longest_wait_seconds:.2f} s"
    )
    assert_no_till_affected(service, ledger, tills)


async def test_killed_service_is_restarted_with_all_acknowledged_captures(
    service: Service,
) -> None:
    ledger = TillLedger()
    async with tills_connecting(service, ledger) as tills:
        os.kill(service.pid(), signal.SIGKILL)
        await service.wait_until_restarted(1)
    print(f"killed, longest wait {tills.longest_wait_seconds:.2f} s")
    assert tills.connection_errors == []
    findings = ledger.compare(service.state)
    assert not findings, findings


async def test_repeatedly_killed_service_is_always_restarted(service: Service) -> None:
    """More restarts in ten seconds than systemd's default start limit allows."""
    service.add_to_unit("RestartSec=10ms")
    for number in range(1, 9):
        await service.wait_until_active()
        os.kill(service.pid(), signal.SIGKILL)
        await service.wait_until_restarted(number)
    assert (await service.start_session()).status == 200


async def test_service_with_a_hanging_writer_is_restarted_by_the_watchdog(service: Service) -> None:
    """A stalled sync: the process lives and answers, but cannot commit captures."""
    service.add_to_unit("WatchdogSec=2", "TimeoutAbortSec=2")
    service.machine.run("systemctl", "restart", UNIT)
    await service.wait_until_active()
    # Longer than the watchdog timeout; a process in a stalled call cannot die before it returns.
    async with injected(service.pid(), "fdatasync:delay_enter=8s"):
        hanging = asyncio.create_task(service.start_session())
        await service.wait_until_restarted(1)
    with pytest.raises((OSError, RuntimeError)):
        await hanging
    assert (await service.start_session()).status == 200
    said = service.machine.run("journalctl", "--no-pager", "-u", UNIT)
    assert "Watchdog timeout" in said
    assert "Fatal Python error: Aborted" in said, "where its threads hung"


async def test_cold_boot_without_network_and_with_the_clock_at_1970_serves_tills(
    service: Service,
) -> None:
    service.add_to_unit(
        f"Environment=LD_PRELOAD={FAKETIME}",
        'Environment="FAKETIME=@1970-01-01 00:00:10" DONT_FAKE_MONOTONIC=1',
    )
    machine = service.machine
    (machine.root / "etc/loyalty-agent/config.toml").write_text(
        '[central]\nurl = "https://head-office.example.com"\n'
        '[central.auth]\nkind = "bearer"\ntoken_file = "credential:central-token"\n'
    )
    machine.sync()
    machine.shut_down()
    machine.boot()
    print(f"cold boot to first answer {await service.seconds_to_first_answer():.2f} s")
    assert str(service.status()["startedAt"]).startswith("1970-01-01")


async def test_boot_id_is_available_inside_the_sandbox(service: Service) -> None:
    assert (await service.start_session()).status == 200
    machine = service.machine
    boot_id = (machine.run("cat", "/proc/sys/kernel/random/boot_id")).strip()
    pid = service.unit_property("MainPID")
    entered = ("nsenter", "-t", pid, "-m", "--")
    hidden = machine.run(*entered, "cat", "/proc/sys/kernel/random/boot_id", check=False)
    given = machine.run(*entered, "cat", f"/run/credentials/{UNIT}/boot-id").strip()
    assert "No such file" in hidden
    assert given == boot_id
