"""A store without a line: its captures are exported to a file and imported at head office."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.drill.processes import free_port
from sync.protocol.agent_token import hash_token
from sync.receiver.carried.large_batches import MOST_EVENTS
from sync.receiver.carried.private_keys import read_private_keys
from tests.bench.start import fill
from tests.support.agent.process import agent
from tests.support.head_office.bundles import sealed
from tests.support.head_office.messages import SimulatedAgent, sessions
from tests.support.head_office.process import HQ, hq, receiver_process, write_config
from tests.support.patience import PATIENCE_SECONDS
from tests.support.processes import ROOT, messages
from tests.support.shop.receivers import STORE, TILL, keep_token
from tests.support.shop.records import records_at, records_in
from tests.support.shop.shop import shop_at
from tests.support.shop.verdict import StoredRecord, judge

pytestmark = pytest.mark.process
MANY = 1_000_000


@dataclass(slots=True)
class Office:
    """A head office whose commands run as processes, and the files that it hands to a store."""

    place: Path
    database: str
    records: Callable[[], Awaitable[list[StoredRecord]]]

    def run(self, *arguments: str) -> str:
        """Run a command that must succeed; return what it prints."""
        result = hq("--config", str(self.config), *arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout

    @property
    def config(self) -> Path:
        """The configuration file."""
        return write_config(self.place / "hq", database=self.database)

    def imported(self, bundle: Path) -> dict[str, object]:
        """Import a bundle that is taken as a whole; return the report."""
        report: dict[str, object] = json.loads(self.run("import", str(bundle), "--json"))
        return report


@pytest.fixture(params=["sqlite", "postgresql"])
async def office(request: pytest.FixtureRequest, tmp_path: Path) -> Office:
    (tmp_path / "hq").mkdir(mode=0o700)
    if request.param == "sqlite":

        async def records() -> list[StoredRecord]:
            return records_in(tmp_path / "hq" / "hq.db")

        return Office(tmp_path, "", records)
    url = await request.getfixturevalue("postgresql_server").new_database()
    return Office(tmp_path, url, lambda: records_at(url))


@dataclass(frozen=True, slots=True)
class Till:
    """A POS machine with what head office gave it: a token, and the public key."""

    place: Path
    token: Path

    @property
    def state(self) -> Path:
        """The storage directory."""
        return self.place / "state"

    def export(self, name: str) -> Path:
        """Export to a new file, beside the running agent or without one."""
        config, file = self.place / "export.toml", self.place / name
        config.write_text(
            f'[store]\nstore_id = "{STORE}"\ntill_id = "{TILL}"\n'
            f'[storage]\ndirectory = "{self.state}"\n'
            f'[central]\npublic_key_file = "{self.place}/hq.pub"\n'
            f'[central.auth]\nkind = "bearer"\ntoken_file = "{self.token}"\n'
        )
        result = agent("--config", str(config), "export", str(file))
        assert (result.returncode, messages(result.stderr)) == (0, "")
        return file


@pytest.fixture
def till(office: Office, tmp_path: Path) -> Till:
    token = office.run("enroll", STORE, TILL).strip()
    (tmp_path / "hq.pub").write_text(office.run("keys"))
    return Till(tmp_path, keep_token(tmp_path / "token", token))


async def test_captures_of_a_store_without_a_line_are_carried_to_head_office(
    office: Office, till: Till
) -> None:
    """Imported while head office serves, in the wrong order; then the line is back."""
    port = free_port()
    central = f"http://127.0.0.1:{port}"
    async with shop_at(till.state, central, "batch", token_file=till.token) as shop:
        await shop.trade(20)
        first = till.export("first.bundle")
        await shop.trade(5)
        second = till.export("second.bundle")
        async with receiver_process(office.place / "hq", database=office.database) as serving:
            await serving.port()
            taken = office.imported(second)
            older = office.imported(first)
        assert [one["taken"] for one in (taken, older)] == [50, 0]
        assert [one["alreadyHere"] for one in (taken, older)] == [0, 40]
        assert (await shop.status())["waiting"] == 50
        assert "Complete" in office.run("completeness")
        await shop.trade(1)
        async with receiver_process(office.place / "hq", database=office.database, port=port):
            status = await shop.delivered()
            assert status["deadLetters"] == 0

    verdict = judge(shop.ledger, await office.records())
    assert verdict.is_clean, verdict
    assert verdict.at_central == 52


async def test_stopped_agent_exports_too_and_its_bundle_is_for_head_office_alone(
    office: Office, till: Till
) -> None:
    async with shop_at(till.state, "", "batch", token_file=till.token) as shop:
        await shop.trade(10)
    bundle = till.export("stick.bundle")

    assert bundle.stat().st_mode & 0o777 == 0o600
    content = bundle.read_bytes()
    for secret in (STORE, TILL, "example.com", "session"):
        assert secret.encode() not in content
    assert office.imported(bundle)["taken"] == 20
    verdict = judge(shop.ledger, await office.records())
    assert verdict.is_clean, verdict


async def test_import_that_is_killed_is_completed_by_its_repetition(
    office: Office, till: Till
) -> None:
    sender, events = SimulatedAgent(STORE, TILL), 2 * MOST_EVENTS
    batches = [
        (sender.batch(*sessions(first, first + 499)), 500) for first in range(1, events + 1, 500)
    ]
    (key,) = read_private_keys(office.place / "hq" / "hq.private-key.pem")
    bundle = till.place / "large.bundle"
    token_hash = hash_token(till.token.read_text().strip())
    bundle.write_bytes(sealed(sender, batches, token_hash=token_hash, key=key))
    command = (*HQ, "--config", str(office.config), "import", str(bundle))
    running = await asyncio.create_subprocess_exec(*command, cwd=ROOT)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await office.records():
            assert running.returncode is None
            await asyncio.sleep(0.01)
    running.kill()
    await running.wait()
    stored = len(await office.records())

    report = office.imported(bundle)

    assert 0 < stored < events
    assert (report["taken"], report["alreadyHere"]) == (events - stored, stored)
    assert len(await office.records()) == events


@pytest.mark.campaign
async def test_million_captures_are_carried(
    office: Office, till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prints the seconds of each way, and the size: `pytest -s -m campaign`."""
    monkeypatch.setattr("tests.support.processes.PATIENCE_SECONDS", 900.0)
    await asyncio.to_thread(fill, till.state, MANY)
    began = time.monotonic()
    bundle = await asyncio.to_thread(till.export, "many.bundle")
    exported = time.monotonic()
    report = await asyncio.to_thread(office.imported, bundle)
    imported = time.monotonic()

    print(
        f"export {exported - began:.1f} s, import {imported - exported:.1f} s,"
        f" {bundle.stat().st_size / 1e6:.1f} MB"
    )
    assert (report["taken"], report["refused"]) == (MANY, {})
