"""Captures in a damaged database reach head office by themselves; tills are served meanwhile."""

import asyncio
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.facts import Capture, SessionStarted, Timestamp
from tests.support.agent.in_process import Agent
from tests.support.faults.damaged_database import (
    FOUND_US,
    KilledStore,
    Name,
    build_killed_store,
    damaged_copy,
    recovered_by_sqlite,
    recovering_shell,
)
from tests.support.shop.receivers import RestartableReceiver
from tests.support.shop.shop import Shop, shop_at

pytestmark = [pytest.mark.process, pytest.mark.slow]
SERVED_SECONDS = 2.0
ARRIVED_SECONDS = 60.0
CAMPAIGN = 300
_LOOK_SECONDS = 0.1
_ARRIVED = """
SELECT 'session', correlation_id, body FROM sessions UNION ALL
SELECT 'answer', correlation_id, status || ' ' || coalesce(email_address, '') FROM email_answers
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> KilledStore:
    """Return the files of a killed agent; they are copied before use."""
    return build_killed_store(tmp_path_factory.mktemp("killed"))


@dataclass(slots=True)
class Outcome:
    """Result of one damaged file: names of captures, seconds, and what should not be."""

    damage: str
    found_by_sqlite: set[Name]
    arrived: set[Name]
    served_seconds: float
    arrived_seconds: float
    faults: list[str]

    @property
    def missing(self) -> set[Name]:
        """Return what SQLite's recovery finds and head office lacks."""
        return self.found_by_sqlite - self.arrived


async def run_damaged(killed: KilledStore, seed: int, place: Path) -> Outcome:
    """Damage a copy by `seed`, start an agent on it, and compare what arrives at head office."""
    state, faults = place / "state", list[str]()
    damage = damaged_copy(killed, seed, state)
    found = set[Name]()
    if recovering_shell() is not None:
        found = await asyncio.to_thread(recovered_by_sqlite, state, place / "sqlite", killed)
    async with RestartableReceiver(place / "head-office") as receiver:
        token = await receiver.enroll()
        started = time.monotonic()
        async with shop_at(
            state, receiver.url, "batch", token_file=token, clock=_clock(started)
        ) as shop:
            served = await _serve_one(shop.agent, faults)
            served_seconds = time.monotonic() - started
            await _salvaged(shop, found, receiver)
            arrived_seconds = time.monotonic() - started
            rows = receiver.rows(_ARRIVED)
            await _repeat_all(shop.agent, killed, served, faults)
    counted = Counter((str(kind), str(name)) for kind, name, _ in rows)
    faults += [f"{name} arrived {count} times" for name, count in counted.items() if count > 1]
    arrived = _unaltered(rows, killed)
    return Outcome(damage, found, arrived, served_seconds, arrived_seconds, faults)


def _clock(started: float) -> Callable[[], Timestamp]:
    """Return the clocks of a machine that is booted soon after its agent was killed."""

    def read() -> Timestamp:
        passed_us = int((time.monotonic() - started) * 1e6)
        return Timestamp(FOUND_US + passed_us, passed_us)

    return read


async def _serve_one(agent: Agent, faults: list[str]) -> str:
    """Record a new session; return its receipt."""
    answer = await agent.start_session({"correlationId": "new"})
    if answer.status != 200:
        faults.append(f"a new session was answered {answer.status}")
    return answer.header("Loyalty-Receipt") or ""


async def _salvaged(shop: Shop, found: set[Name], receiver: RestartableReceiver) -> None:
    """Wait until nothing is left to salvage or to deliver, at most `ARRIVED_SECONDS`."""
    try:
        async with asyncio.timeout(ARRIVED_SECONDS):
            while True:
                status = await shop.status()
                storage = status["storage"]
                assert isinstance(storage, dict)
                is_read = storage["salvage"] is not None and storage["salvage"]["pending"] == 0
                if status["waiting"] == 0 and is_read:
                    return
                await asyncio.sleep(_LOOK_SECONDS)
    except TimeoutError:
        return


async def _repeat_all(agent: Agent, killed: KilledStore, new: str, faults: list[str]) -> None:
    """Repeat every undelivered capture; no receipt may stand for two of them."""
    owner = {receipt: name for name, receipt in killed.receipts.items()}
    if new in owner:
        faults.append(f"the new session got the receipt of {owner[new]}")
    for capture in killed.captures:
        name = (
            "session" if isinstance(capture, SessionStarted) else "answer",
            capture.correlation_id,
        )
        receipt = await _repeat(agent, capture)
        if receipt is not None and owner.setdefault(receipt, name) != name:
            faults.append(f"{name} got the receipt of {owner[receipt]}")


async def _repeat(agent: Agent, capture: Capture) -> str | None:
    if isinstance(capture, SessionStarted):
        query = f"?locale={capture.query_locale}" if capture.query_locale else ""
        answer = await agent.start_session(capture.body, query)
    else:
        body = {"status": capture.status, "emailAddress": capture.address}
        answer = await agent.set_email(capture.correlation_id, body)
    return answer.header("Loyalty-Receipt") if answer.status == 200 else None


def _unaltered(rows: list[tuple[object, ...]], killed: KilledStore) -> set[Name]:
    kept = {
        name: " ".join(str(value) for value in content) for name, content in killed.waiting.items()
    }
    return {
        (str(kind), str(name))
        for kind, name, content in rows
        if kept.get((str(kind), str(name))) == content
    }


def test_same_seed_damages_the_same_bytes(killed: KilledStore, tmp_path: Path) -> None:
    """Else a failure of a damaged file cannot be repeated."""
    again = build_killed_store(tmp_path)
    stores = (killed, again)

    for number, store in enumerate(stores):
        damaged_copy(store, 5, tmp_path / f"damaged-{number}")
    files = [
        [_contents(place) for place in (store.files, store.older, tmp_path / f"damaged-{number}")]
        for number, store in enumerate(stores)
    ]
    assert files[0] == files[1]


def _contents(place: Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in place.iterdir() if one.suffix != ".db-shm"}


@pytest.mark.parametrize("seed", [0, 2, 6, 10, 11])
async def test_captures_of_a_damaged_database_reach_head_office(
    killed: KilledStore, tmp_path: Path, seed: int
) -> None:
    outcome = await run_damaged(killed, seed, tmp_path)
    assert outcome.faults == []
    assert outcome.missing == set()
    assert len(outcome.arrived) > len(killed.waiting) // 2


@pytest.mark.campaign
async def test_head_office_gets_what_sqlite_recovers_from_300_damaged_files(
    killed: KilledStore, tmp_path: Path
) -> None:
    if recovering_shell() is None:
        pytest.skip("needs a shell of SQLite with .recover: $SQLITE3_SHELL")
    outcomes = []
    for seed in range(CAMPAIGN):
        outcomes.append(await run_damaged(killed, seed, tmp_path / str(seed)))
        shutil.rmtree(tmp_path / str(seed))
    found = sum(len(one.found_by_sqlite) for one in outcomes)
    missing = sum(len(one.missing) for one in outcomes)
    assert [fault for one in outcomes for fault in one.faults] == []
    assert missing <= 0.02 * found
    assert max(one.served_seconds for one in outcomes) < SERVED_SECONDS
    assert max(one.arrived_seconds for one in outcomes) < ARRIVED_SECONDS
