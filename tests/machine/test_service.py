"""systemd restarts the agent after any failure, and no till is refused meanwhile."""

import asyncio
import os
import signal

import pytest

from tests.machine.load import assert_no_till_noticed, tills_at_work
from tests.machine.service import UNIT, Service
from tests.support.faults.strace import injected
from tests.support.till.ledger import TillLedger

pytestmark = pytest.mark.machine
RESTARTS = 5
ACKNOWLEDGED_BETWEEN = 300
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"


async def served_some(ledger: TillLedger) -> None:
    """Wait until the service has acknowledged ACKNOWLEDGED_BETWEEN more captures."""
    enough = len(ledger.acknowledged) + ACKNOWLEDGED_BETWEEN
    while len(ledger.acknowledged) < enough:
        ledger.any_acknowledged.clear()
        await ledger.any_acknowledged.wait()


async def test_restart_under_load_refuses_no_connection_and_loses_no_capture(
    service: Service,
) -> None:
    ledger = TillLedger()
    async with tills_at_work(service, ledger) as passers:
        for _ in range(RESTARTS):
            await served_some(ledger)
            await service.in_background(service.machine.run, "systemctl", "restart", UNIT)
        await served_some(ledger)
    print(
        f"{RESTARTS} restarts, {len(ledger.acknowledged)} acknowledged,"
        f" longest wait {passers.longest_wait_seconds:.2f} s"
    )
    assert_no_till_noticed(service, ledger, passers)


async def test_killed_service_is_restarted_with_all_acknowledged_captures(
    service: Service,
) -> None:
    ledger = TillLedger()
    async with tills_at_work(service, ledger) as passers:
        os.kill(service.pid(), signal.SIGKILL)
        await service.is_restarted(1)
    print(f"killed, longest wait {passers.longest_wait_seconds:.2f} s")
    assert passers.connection_errors == []
    findings = ledger.compare(service.state)
    assert not findings, findings


async def test_repeatedly_killed_service_is_always_restarted(service: Service) -> None:
    """More restarts in ten seconds than systemd's default start limit allows."""
    service.set_in_unit("RestartSec=10ms")
    for number in range(1, 9):
        await service.is_active()
        os.kill(service.pid(), signal.SIGKILL)
        await service.is_restarted(number)
    assert (await service.start_session()).status == 200


async def test_service_with_a_hanging_writer_is_restarted_by_the_watchdog(service: Service) -> None:
    """A stalled sync: the process lives and answers, but cannot commit captures."""
    service.set_in_unit("WatchdogSec=2", "TimeoutAbortSec=2")
    service.machine.run("systemctl", "restart", UNIT)
    await service.is_active()
    # Longer than the watchdog timeout; a process in a stalled call cannot die before it returns.
    async with injected(service.pid(), "fdatasync:delay_enter=8s"):
        hanging = asyncio.create_task(service.start_session())
        await service.is_restarted(1)
    with pytest.raises((OSError, RuntimeError)):
        await hanging
    assert (await service.start_session()).status == 200
    said = service.machine.run("journalctl", "--no-pager", "-u", UNIT)
    assert "Watchdog timeout" in said
    assert "Fatal Python error: Aborted" in said, "where its threads hung"


async def test_cold_boot_without_network_and_with_the_clock_at_1970_serves_tills(
    service: Service,
) -> None:
    service.set_in_unit(
        f"Environment=LD_PRELOAD={FAKETIME}",
        'Environment="FAKETIME=@1970-01-01 00:00:10" DONT_FAKE_MONOTONIC=1',
    )
    machine = service.machine
    (machine.root / "etc/loyalty-agent/config.toml").write_text(
        '[central]\nurl = "https://head-office.example.com"\n'
        '[central.auth]\nkind = "bearer"\ntoken_file = "credential:central-token"\n'
    )
    machine.sync()
    machine.switch_off()
    machine.boot()
    print(f"cold boot to first answer {await service.first_answer():.2f} s")
    assert str(service.status()["startedAt"]).startswith("1970-01-01")


async def test_boot_id_is_available_inside_the_sandbox(service: Service) -> None:
    assert (await service.start_session()).status == 200
    machine = service.machine
    boot_id = (machine.run("cat", "/proc/sys/kernel/random/boot_id")).strip()
    pid = service.shows("MainPID")
    entered = ("nsenter", "-t", pid, "-m", "--")
    hidden = machine.run(*entered, "cat", "/proc/sys/kernel/random/boot_id", check=False)
    given = machine.run(*entered, "cat", f"/run/credentials/{UNIT}/boot-id").strip()
    assert "No such file" in hidden
    assert given == boot_id
