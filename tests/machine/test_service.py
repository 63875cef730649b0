"""What systemd does for the agent: starts it anew whatever ends it, and no till is refused."""

import asyncio
import os
import signal

import pytest

from tests.crash.faults import injected
from tests.crash.ledger import Ledger
from tests.machine.load import assert_no_till_noticed, tills_at_work
from tests.machine.service import UNIT, Service

pytestmark = pytest.mark.machine
RESTARTS = 5
ACKNOWLEDGED_BETWEEN = 300
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"


async def served_some(ledger: Ledger) -> None:
    """Wait until so many more were acknowledged that the service was at work."""
    enough = len(ledger.acknowledged) + ACKNOWLEDGED_BETWEEN
    while len(ledger.acknowledged) < enough:
        ledger.any_acknowledged.clear()
        await ledger.any_acknowledged.wait()


async def test_a_restart_under_load_refuses_not_one_connection_and_loses_nothing(
    service: Service,
) -> None:
    ledger = Ledger()
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


async def test_a_killed_service_is_started_anew_and_has_what_it_acknowledged(
    service: Service,
) -> None:
    ledger = Ledger()
    async with tills_at_work(service, ledger) as passers:
        os.kill(service.pid(), signal.SIGKILL)
        await service.is_restarted(1)
    print(f"killed, longest wait {passers.longest_wait_seconds:.2f} s")
    assert passers.turned_away == []
    findings = ledger.compare(service.state)
    assert not findings, findings


async def test_a_service_that_is_killed_again_and_again_is_never_given_up(service: Service) -> None:
    """More often in ten seconds than systemd's own default would allow."""
    service.set_in_unit("RestartSec=10ms")
    for number in range(1, 9):
        await service.is_active()
        os.kill(service.pid(), signal.SIGKILL)
        await service.is_restarted(number)
    assert (await service.start_session()).status == 200


async def test_a_service_whose_writer_hangs_is_started_anew(service: Service) -> None:
    """A sync that stalls: the process lives and answers, and takes no capture any more."""
    service.set_in_unit("WatchdogSec=2", "TimeoutAbortSec=2")
    service.machine.run("systemctl", "restart", UNIT)
    await service.is_active()
    # Long enough for systemd to lose patience; a process in a stalled call cannot die before.
    async with injected(service.pid(), "fdatasync:delay_enter=8s"):
        hanging = asyncio.create_task(service.start_session())
        await service.is_restarted(1)
    with pytest.raises((OSError, RuntimeError)):
        await hanging
    assert (await service.start_session()).status == 200
    said = service.machine.run("journalctl", "--no-pager", "-u", UNIT)
    assert "Watchdog timeout" in said
    assert "Fatal Python error: Aborted" in said, "where its threads hung"


async def test_a_cold_boot_with_no_network_and_the_clock_at_1970_serves(service: Service) -> None:
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


async def test_the_boot_id_is_known_inside_the_sandbox(service: Service) -> None:
    assert (await service.start_session()).status == 200
    machine = service.machine
    boot_id = (machine.run("cat", "/proc/sys/kernel/random/boot_id")).strip()
    pid = service.shows("MainPID")
    entered = ("nsenter", "-t", pid, "-m", "--")
    hidden = machine.run(*entered, "cat", "/proc/sys/kernel/random/boot_id", check=False)
    given = machine.run(*entered, "cat", f"/run/credentials/{UNIT}/boot-id").strip()
    assert "No such file" in hidden
    assert given == boot_id
