"""A full disk: captures are refused with 507 and accepted again later; none is lost."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from agent.store.files.disk_space import BALLAST_FILE
from tests.support.agent.process import AgentProcess, agent_process, delivering_to
from tests.support.central import ScriptedCentral, faults
from tests.support.faults.small_disk import SmallDisk, small_disk
from tests.support.patience import PATIENCE_SECONDS
from tests.support.shop.records import records_of
from tests.support.shop.verdict import judge
from tests.support.till.crowd import Crowd
from tests.support.till.ledger import TillLedger
from tests.support.till.requests import Requests, fresh_pair, get, send_request

pytestmark = pytest.mark.process

REQUESTS = Requests("127.0.0.1", 0)
MIB = 1024 * 1024
LOOK_SECONDS = 0.05
_LARGE_BATCHES = {"LOYALTY_AGENT__SYNC__BATCH_EVENTS": "500"}
SETTINGS = {
    "LOYALTY_AGENT__STORAGE__MIN_FREE_BYTES": "0",
    "LOYALTY_AGENT__STORAGE__BALLAST_BYTES": str(MIB),
}


@pytest.mark.parametrize("leaving_bytes", [0, 24 * 1024, 64 * 1024, 160 * 1024])
async def test_agent_starts_on_full_disk_and_serves_once_space_is_free(
    tmp_path: Path, leaving_bytes: int
) -> None:
    """Also if the space suffices only for the key or a part of the empty database."""
    async with small_disk(tmp_path / "state", "3m") as disk:
        disk.fill(leaving_bytes)
        async with agent_process(disk.inside, program=disk.program, settings=SETTINGS) as child:
            port = await child.port()
            refused = await send_request(port, REQUESTS.session(fresh_pair()))
            assert (refused.status, b"STORAGE_FULL" in refused.body) == (507, True)
            assert (await get(port, "/readyz")).status == 503
            assert (await get(port, "/healthz")).status == 200
            disk.free()
            await child.wait_for_log("store.opened")
            assert (await send_request(port, REQUESTS.session(fresh_pair()))).status == 200
            assert (await get(port, "/readyz")).status == 200


async def test_captures_acknowledged_before_disk_was_full_survive_kill(tmp_path: Path) -> None:
    ledger, no_ballast = TillLedger(), {**SETTINGS, "LOYALTY_AGENT__STORAGE__BALLAST_BYTES": "0"}
    async with small_disk(tmp_path / "state", "3m") as disk:
        disk.fill(leaving_bytes=MIB)
        async with agent_process(disk.inside, program=disk.program, settings=no_ballast) as child:
            await fill_with_captures(child, ledger)
            child.kill()
            await child.exit_code()
        disk.free()
        async with agent_process(disk.inside, program=disk.program, settings=SETTINGS) as child:
            assert (
                await send_request(await child.ready(), REQUESTS.session(fresh_pair()))
            ).status == 200
            child.terminate()
            assert await child.exit_code() == 0
        disk.copy_to(tmp_path / "copy")
    findings = ledger.compare(tmp_path / "copy")
    assert ledger.acknowledged
    assert not findings.lost


async def test_full_disk_releases_ballast_that_captures_do_not_use(tmp_path: Path) -> None:
    """The released space is reserved for settling and purging."""
    async with small_disk(tmp_path / "state", "3m") as disk:
        lay_ballast(disk)
        async with agent_process(disk.inside, program=disk.program, settings=SETTINGS) as child:
            await fill_with_captures(child, TillLedger())
            await refused_customers(await child.port(), 200)
        assert not (disk.outside / BALLAST_FILE).exists()
        assert disk.free_bytes() > MIB // 2


async def test_start_on_full_disk_releases_ballast_and_opens_store(
    tmp_path: Path,
) -> None:
    """Captures are refused, but kept events can be read, delivered and purged."""
    async with small_disk(tmp_path / "state", "3m") as disk:
        async with agent_process(disk.inside, program=disk.program, settings=SETTINGS) as child:
            assert (
                await send_request(await child.ready(), REQUESTS.session(fresh_pair()))
            ).status == 200
            child.terminate()
            await child.exit_code()
        lay_ballast(disk)
        disk.fill()
        async with agent_process(disk.inside, program=disk.program, settings=SETTINGS) as child:
            assert (await child.wait_for_log("store.opened"))["sequence"] == 1
            await refused_customers(await child.port(), 3)
        assert not (disk.outside / BALLAST_FILE).exists()


@pytest.mark.parametrize(
    ("size", "for_captures"),
    [("8m", 4 * MIB), pytest.param("64m", 60 * MIB, marks=pytest.mark.campaign)],
)
async def test_everything_acknowledged_is_delivered_while_disk_is_full_to_last_byte(
    tmp_path: Path, size: str, for_captures: int
) -> None:
    """A stranger's file has eaten the ballast as well: nothing at all can be written."""
    ledger = TillLedger()
    async with ScriptedCentral() as central, small_disk(tmp_path / "state", size) as disk:
        central.default_fault = lambda _: faults.reset_before
        settings = {**SETTINGS, **delivering_to(central.url), **_LARGE_BATCHES}
        async with agent_process(disk.inside, program=disk.program, settings=settings) as child:
            disk.fill(leaving_bytes=for_captures)
            await fill_with_captures(child, ledger)
            port = await child.port()
            await eat_ballast(disk, port)

            central.default_fault = lambda _: None
            await arrived(central, len(ledger.acknowledged))
            assert disk.free_bytes() == 0
            not_ready = await get(port, "/readyz")
            assert (not_ready.status, b"0.0 MiB free on the file system" in not_ready.body) == (
                503,
                True,
            )
            disk.free()
            # The first one: no restart, no wait for a job.
            pair = next(ledger.customers(1))
            assert (await send_request(port, REQUESTS.session(pair))).status == 200
            await arrived(central, len(ledger.acknowledged) + 1)
            await settled(port)
        refused = [line for line in child.lines if line.get("event") == "request.not_recorded"]
    verdict = judge(ledger, records_of(central))
    assert verdict.is_clean, verdict
    assert len(refused) <= 3


@pytest.mark.parametrize("end", ["stopped", "killed"])
async def test_agent_started_on_disk_without_free_byte_delivers_what_it_has(
    tmp_path: Path, end: str
) -> None:
    """Neither a WAL nor its index can be made: the database is read as it is."""
    ledger = TillLedger()
    settings = {**SETTINGS, "LOYALTY_AGENT__STORAGE__BALLAST_BYTES": "0"}
    async with ScriptedCentral() as central, small_disk(tmp_path / "state", "4m") as disk:
        central.default_fault = lambda _: faults.reset_before
        settings |= delivering_to(central.url) | _LARGE_BATCHES
        async with agent_process(disk.inside, program=disk.program, settings=settings) as child:
            crowd = await ledger.open_tills(await child.ready(), 4, 50)
            assert await crowd.finished(PATIENCE_SECONDS)
            if end == "killed":
                child.kill()
            else:
                child.terminate()
            await child.exit_code()
        disk.fill()
        central.default_fault = lambda _: None
        async with agent_process(disk.inside, program=disk.program, settings=settings) as child:
            port = await child.port()
            await arrived(central, 2 * 50)
            assert (await send_request(port, REQUESTS.session(fresh_pair()))).status == 507
            assert disk.free_bytes() == 0
            disk.free()
            await settled(port)
    verdict = judge(ledger, records_of(central))
    assert verdict.is_clean, verdict


async def arrived(central: ScriptedCentral, count: int) -> None:
    """Wait until head office has `count` records; fail if none arrives for some seconds."""
    there, since = 0, time.monotonic()
    while True:
        found = len(central.ledger.records)
        if found >= count:
            return
        if found > there:
            there, since = found, time.monotonic()
        assert time.monotonic() < since + PATIENCE_SECONDS, f"{found} of {count} arrived"
        await asyncio.sleep(LOOK_SECONDS)


async def settled(port: int) -> None:
    """Wait until the agent has recorded that everything is delivered."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            if json.loads((await get(port, "/agent/v1/status")).body)["waiting"] == 0:
                return
            await asyncio.sleep(LOOK_SECONDS)


async def eat_ballast(disk: SmallDisk, port: int) -> None:
    """Fill the disk each time the agent gives up some of its own space."""
    disk.fill()
    while disk.free_bytes() or (disk.outside / BALLAST_FILE).exists():
        await refused_customers(port, 1)
        disk.fill()


async def fill_with_captures(child: AgentProcess, ledger: TillLedger) -> None:
    """Let tills send until a capture is refused."""
    crowd = Crowd(
        "127.0.0.1",
        await child.ready(),
        pairs=ledger.customers(),
        on_acknowledged=ledger.acknowledge,
        on_refused=ledger.refuse,
    )
    await crowd.open(8)
    await ledger.any_refused.wait()
    await crowd.close()
    assert {answer.status for answer in ledger.refused} == {507}


async def refused_customers(port: int, count: int) -> None:
    """Send `count` more session starts and check that each is refused."""
    for _ in range(count):
        assert (await send_request(port, REQUESTS.session(fresh_pair()))).status == 507


def lay_ballast(disk: SmallDisk) -> None:
    """Create the ballast file as an earlier run of the agent does."""
    (disk.outside / BALLAST_FILE).write_bytes(bytes(MIB))
