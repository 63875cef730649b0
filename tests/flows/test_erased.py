"""After delivery, a copy of a running agent's directory opens no address with any key in it."""

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest

from agent.uplink import scheduled_jobs
from tests.support.agent.erasure import stored_secrets, traces
from tests.support.central import ScriptedCentral
from tests.support.patience import PATIENCE_SECONDS
from tests.support.shop.shop import capturing_in, shop_at
from tests.support.till.ledger import TillLedger

CUSTOMERS = 100
DOMAIN = b"@example.com"
FILES = ["agent.db", "agent.db-shm", "agent.db-wal", "agent.lock", "agent.mark", "encryption.key"]


async def steal(directory: Path, place: Path) -> Path:
    """Copy the directory as an attacker does, in a process of its own: SQLite's locks stay."""
    shutil.rmtree(place, ignore_errors=True)
    command = ["cp", "-a", str(directory), str(place)]
    await asyncio.to_thread(subprocess.run, command, check=False, capture_output=True)
    return place


async def until_no_traces(directory: Path, place: Path, secrets: list[bytes]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while traces(await steal(directory, place), secrets):
            pass


@pytest.mark.process
async def test_copy_of_a_running_agent_holds_no_delivered_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the ciphertext, in any file; so no key can help, and no address stands in plain text."""
    monkeypatch.setattr(scheduled_jobs, "SCRUB_SECONDS", 0.2)
    state, ledger = tmp_path / "state", TillLedger()
    async with capturing_in(state, ledger) as offline:
        await offline.trade(CUSTOMERS)
    addresses, _ = stored_secrets(state)
    assert len(addresses) == CUSTOMERS
    async with ScriptedCentral() as central, shop_at(state, central.url, "batch", ledger) as shop:
        await shop.trade(CUSTOMERS)
        await shop.delivered()
        await until_no_traces(state, tmp_path / "stolen", addresses)
        stolen = await steal(state, tmp_path / "stolen")
        assert sorted(file.name for file in stolen.iterdir()) == FILES
        assert [file.name for file in stolen.iterdir() if DOMAIN in file.read_bytes()] == []
