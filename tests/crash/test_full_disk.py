"""A full disk: captures are refused with 507 and accepted again later; none is lost."""

from pathlib import Path

import pytest

from agent.store.files.disk_space import BALLAST_FILE
from tests.support.agent.process import AgentProcess, agent_process
from tests.support.faults.small_disk import SmallDisk, small_disk
from tests.support.till.crowd import Crowd
from tests.support.till.ledger import TillLedger
from tests.support.till.requests import Requests, fresh_pair, get, send_request

pytestmark = pytest.mark.process

REQUESTS = Requests("127.0.0.1", 0)
MIB = 1024 * 1024
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
