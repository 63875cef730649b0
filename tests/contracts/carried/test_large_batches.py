"""Batches of a bundle are stored together, with the decisions that each of them would get."""

import io
import os
import random
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import TypeVar

import pytest
from sqlalchemy import Connection

from sync.protocol.agent_token import hash_token
from sync.protocol.bundle.sealing import key_id_of
from sync.protocol.wire import EpochExtent, ErrorCode
from sync.receiver.auth.enrolment import Enrolment
from sync.receiver.carried import large_batches
from sync.receiver.carried.bundle_file import open_bundle
from sync.receiver.carried.import_bundle import BundleImport, ImportReport
from sync.receiver.db.database import Database
from sync.receiver.db.tables import (
    AgentRecord,
    DuplicateRecord,
    EmailAnswerRecord,
    GapRecord,
    RejectionRecord,
    SessionRecord,
)
from sync.receiver.ingest.events import SessionEvent
from sync.receiver.ingest.ledger import Ledger
from tests.support.head_office.audit import audit_by
from tests.support.head_office.bundles import HEAD_OFFICE_KEY, sealed
from tests.support.head_office.enrolment import issue_token
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import (
    AT,
    Members,
    SimulatedAgent,
    answer,
    session,
    sessions,
)

T = TypeVar("T")
Batches = Sequence[tuple[bytes, int]]
NOTHING = SimpleNamespace(events=())
OTHER_EPOCH = "0d5f1a0c-5a0e-4a52-9b3c-3f5b8c1d2e00"
NUMBERED = (SessionRecord, EmailAnswerRecord, RejectionRecord, DuplicateRecord)


class RefusedValueError(Exception):
    """A database's error on a value."""

    sqlstate = "22P05"


class CountedWrites:
    """Counts the transactions of a database that refuses the value of one event."""

    def __init__(self, database: Database, refused: str) -> None:
        self._database = database
        self._refused = refused
        self.writes = 0

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work`."""
        self.writes += 1
        events = getattr(work, "keywords", {}).get("inbound", NOTHING).events
        if any(
            isinstance(one, SessionEvent) and one.correlation_id == self._refused for one in events
        ):
            raise RefusedValueError
        return await self._database.write(work)


async def imported(
    office: LedgerDriver,
    sender: SimulatedAgent,
    batches: Batches,
    epochs: Sequence[EpochExtent] = (),
    refused: str = "",
) -> tuple[ImportReport, int]:
    """Import a bundle; return the report and the number of transactions of its events."""
    token = await issue_token(Enrolment(office.database), sender.name, os.urandom(32))
    content = sealed(sender, batches, epochs=epochs, token_hash=hash_token(token))
    keys = {key_id_of(HEAD_OFFICE_KEY.public_key()): HEAD_OFFICE_KEY}
    bundle = open_bundle(io.BytesIO(content), keys)
    counted = CountedWrites(office.database, refused)
    ledger = Ledger(counted)  # type: ignore[arg-type] # it only writes
    work, report = BundleImport(office.database, ledger, audit_by(), lambda: AT), ImportReport()
    origin = await work.origin(bundle, accept_unproven=False)
    await work.take(bundle, origin, "", report, lambda _: None)
    return report, counted.writes - 1


def in_batches(
    sender: SimulatedAgent, events: Sequence[Members], sizes: Sequence[int], **members: object
) -> Batches:
    """Return the events in batches of these sizes, and one of the rest."""
    batches, rest = [], list(events)
    for size in (*sizes, len(rest)):
        part, rest = rest[:size], rest[size:]
        if part:
            batches.append((sender.batch(*part, **members), len(part)))
    return batches


async def test_bundle_of_many_small_batches_is_stored_in_one_transaction(
    office: LedgerDriver,
) -> None:
    till = SimulatedAgent()
    batches = in_batches(till, sessions(1, 200), [10] * 20)

    report, transactions = await imported(office, till, batches)

    assert (report.total.taken, transactions) == (200, 1)


async def test_batches_are_joined_up_to_a_size_though_their_captures_are_rejected(
    office: LedgerDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rejected content compresses without limit: ten thousand batches of it filled the memory."""
    monkeypatch.setattr(large_batches, "_MOST_BYTES", 30_000)
    till = SimulatedAgent()
    padding = {"padding": "a" * 10_000}
    events = [session(number, type="unheard.of", body=padding) for number in range(1, 7)]

    report, transactions = await imported(office, till, in_batches(till, events, [1] * 6))

    assert (report.total.rejected, transactions) == ({ErrorCode.UNKNOWN_TYPE: 6}, 3)


async def test_value_that_the_database_refuses_is_found_among_all_that_is_stored_together(
    office: LedgerDriver,
) -> None:
    till = SimulatedAgent()
    batches = in_batches(till, sessions(1, 60), [10] * 6)

    report, _ = await imported(office, till, batches, refused="session-42")

    assert (report.total.taken, report.total.rejected) == (59, {ErrorCode.UNSTORABLE: 1})
    assert await office.rows(RejectionRecord, "sequence") == [(42,)]


@pytest.mark.parametrize("seed", range(6))
async def test_decisions_on_joined_batches_are_those_on_each_of_them(
    office: LedgerDriver, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Random histories: repeats, duplicates, rejections, other content, gaps, two epochs."""
    results = []
    for store, most in (("joined", large_batches.MOST_EVENTS), ("apart", 1)):
        monkeypatch.setattr(large_batches, "MOST_EVENTS", most)
        chance, reports = random.Random(seed), []
        for _ in range(3):
            batches, epochs = random_bundle(chance, store)
            report, _ = await imported(office, SimulatedAgent(store), batches, epochs)
            reports.append(report)
        results.append((reports, await held(office, store)))

    joined, apart = results
    assert joined == apart


def random_bundle(chance: random.Random, store: str) -> tuple[Batches, Sequence[EpochExtent]]:
    """Return the batches and epochs of a bundle, of which head office may hold a part."""
    batches: list[tuple[bytes, int]] = []
    older = SimulatedAgent(store, epoch=OTHER_EPOCH)
    for sender, last in ((older, 40), (SimulatedAgent(store), 60)):
        first = chance.choice([1, 1, 1, 11, 25])
        base = chance.choice([1, first])
        events = [random_event(chance, number) for number in range(first, last + 1)]
        sizes = [chance.randint(1, 15) for _ in range(chance.randint(1, 8))]
        retried = [events[number] for number in sorted(chance.sample(range(20), 2))]
        batches += in_batches(sender, retried, [], baseSequence=base)
        batches += in_batches(sender, events, sizes, baseSequence=base)
    return batches, [
        EpochExtent(epoch=OTHER_EPOCH, last_sequence=40),
        EpochExtent(epoch=SimulatedAgent().epoch, last_sequence=60),
    ]


def random_event(chance: random.Random, number: int) -> Members:
    """Return an event; with the same number mostly the same one."""
    name = f"session-{number % 25}"
    match chance.randint(0, 12):
        case 0:
            return session(number, name, type="unheard.of")
        case 1:
            return session(number, f"other-{chance.randint(1, 9)}")
        case 2 | 3 | 4:
            return answer(number, f"session-{(number - 1) % 25}")
        case 5:
            return session(number, name, body={"correlationId": name, "channel": "web"})
        case _:
            return session(number, name)


async def held(office: LedgerDriver, store: str) -> list[object]:
    """Return what is held of a store, without its name."""
    found: list[object] = []
    for table in NUMBERED:
        rows = await office.rows(table, "store_id", "epoch", "sequence", "correlation_id")
        found.append(sorted(row[1:] for row in rows if row[0] == store))
    columns = ("store_id", "epoch", "first_sequence", "last_sequence", "reason")
    rows = await office.rows(GapRecord, *columns)
    found.append(sorted(row[1:] for row in rows if row[0] == store))
    columns = ("store_id", "epoch", "accepted_through", "last_sequence", "ended_through")
    rows = await office.rows(AgentRecord, *columns)
    found.append(sorted(row[1:] for row in rows if row[0] == store))
    return found
