"""Power cuts at random moments under load: no acknowledged capture is lost."""

import asyncio
import os
import random
from pathlib import Path

import pytest

from tests.machine.service import HOST, PORT, Service
from tests.support.till.crowd import CaptureAnswer, Crowd
from tests.support.till.ledger import TillLedger

pytestmark = pytest.mark.machine
SEED = int(os.environ.get("CRASH_SEED", "20250109"))
CUTS = int(os.environ.get("POWER_CUTS", "20"))
CONTROL_CUTS = 5
TILLS = 8
PRAGMA = '"PRAGMA synchronous=FULL"'
STORE_CODE = "opt/loyalty-agent/current/lib/python3.11/site-packages/agent/store"


async def cut_power_once(service: Service, ledger: TillLedger, rng: random.Random) -> None:
    """Load the service, and cut the power 50 ms to 1 s after the first answer of this round.

    Answers after the cut do not count: syncs in flight may then return without an error, but a
    machine without power sends nothing.
    """
    ledger.any_acknowledged.clear()
    powered = True

    def acknowledge(answer: CaptureAnswer) -> None:
        if powered:
            ledger.acknowledge(answer)

    with service.machine.network():
        crowd = Crowd(
            HOST,
            PORT,
            pairs=ledger.customers(),
            on_acknowledged=acknowledge,
            on_refused=lambda _: None,  # errors from the missing disk are expected
        )
        await crowd.open(TILLS)
    await ledger.any_acknowledged.wait()
    await asyncio.wait({asyncio.create_task(crowd.finished())}, timeout=rng.uniform(0.05, 1.0))
    powered = False
    service.machine.cut_power()
    assert await crowd.finished(timeout_seconds=10)
    ledger.ask_again([question.pair for question in crowd.in_doubt])


async def boot_again(service: Service) -> float:
    """Boot; return the seconds until the first answer."""
    service.machine.boot()
    seconds = await service.seconds_to_first_answer()
    await service.wait_until_active()
    return seconds


async def test_power_cuts_lose_no_acknowledged_capture(service: Service) -> None:
    print(f"CRASH_SEED={SEED}")
    rng, ledger, waits = random.Random(SEED), TillLedger(), []
    await service.wait_until_active()
    service.machine.sync()
    for _ in range(CUTS):
        await cut_power_once(service, ledger, rng)
        waits.append(await boot_again(service))
        findings = ledger.compare(service.state)
        assert not findings, findings
    print(
        f"{CUTS} cuts, {len(ledger.acknowledged)} acknowledged, 0 lost;"
        f" boot to first answer {sorted(waits)[len(waits) // 2]:.2f} s,"
        f" at most {max(waits):.2f} s"
    )


async def test_control_without_sync_loses_captures_in_the_same_power_cuts(service: Service) -> None:
    """Control: with synchronous=NORMAL this setup must find losses, or it proves nothing."""
    print(f"CRASH_SEED={SEED}")
    commit_without_sync(service.machine.root / STORE_CODE)
    service.machine.run("systemctl", "restart", "loyalty-agent.service")
    rng = random.Random(SEED)
    lost = acknowledged = 0
    for _ in range(CONTROL_CUTS):
        ledger = TillLedger()
        await service.wait_until_active()
        service.machine.sync()
        await cut_power_once(service, ledger, rng)
        await boot_again(service)
        lost += len(ledger.compare(service.state).lost)
        acknowledged += len(ledger.acknowledged)
    print(f"control, {CONTROL_CUTS} cuts: {lost} of {acknowledged} lost")
    assert lost


def commit_without_sync(store_code: Path) -> None:
    """Patch the agent to answer before the commit is synced."""
    (code,) = (file for file in store_code.rglob("*.py") if PRAGMA in file.read_text())
    code.write_text(code.read_text().replace(PRAGMA, '"PRAGMA synchronous=NORMAL"'))
    # The package's .pyc files are used without checking their sources.
    for compiled in (code.parent / "__pycache__").glob(f"{code.stem}.*.pyc"):
        compiled.unlink()
