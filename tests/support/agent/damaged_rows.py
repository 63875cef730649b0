"""Kinds of damage to single rows, planted by plain SQL in the database of a stopped agent.

The database holds delivered captures, two that head office refused, and captures that wait:

    position   1 2       3 4         5 6      7 8      9     10 11
    session    one       two         three    four     five  six, and its answer
               delivered refused     waiting

Damage to one row may cost that row's capture (`spoilt`), and the answers of its session.
"""

import asyncio
import copy
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from agent.store.db.connect import DATABASE_FILE
from agent.store.learned_terms import LearnedTerms, keep_terms
from sync.delivery.delivery_pass import DeliveryPass, PassReport
from sync.delivery.throttle import Throttle
from sync.delivery.transports.auth import NoCredentials
from sync.delivery.transports.central_client import CentralClient
from sync.protocol.wire import EventType
from tests.support.agent.outbox import OutboxRig, outbox_on
from tests.support.agent.store import EpochIds, answer, session
from tests.support.central.in_memory import InMemoryClient
from tests.support.central.ledger import Ledger
from tests.support.central.scripted import ScriptedCentral
from tests.support.patience import PATIENCE_SECONDS
from tests.support.transports import NOW, batch_transport

LARGEST = 2**63 - 1
WAITING = ["three", "three", "four", "four", "five", "six", "six"]
FIRST_WAITING = 5
SESSION, ANSWER = 7, 8
# Tables that take any value in any column.
ANY_VALUE = (
    "PRAGMA writable_schema=ON",
    """
UPDATE sqlite_schema SET sql = replace(replace(sql, 'NOT NULL', ''), 'STRICT', '')
WHERE type = 'table'
""",
)
NOT_UTF8 = "CAST(x'ff61' AS TEXT)"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of damage: its name, the SQL that plants it, positions that it may cost.

    `is_rare`: planted in the campaign only.
    """

    name: str
    sql: tuple[str, ...]
    spoilt: frozenset[int] = frozenset()
    is_rare: bool = False

    def __str__(self) -> str:
        """Return the name: the id of the test."""
        return self.name


@dataclass(frozen=True, slots=True)
class Prepared:
    """The files of a stopped agent, and what head office has by then."""

    directory: Path
    ledger: Ledger


async def prepare(directory: Path) -> Prepared:
    """Create the database that the kinds damage."""
    central = ScriptedCentral()
    async with outbox_on(directory) as rig:
        await rig.capture(session("one"), answer("one"), session("two"), answer("two"))
        central.refuse("two")
        await deliver(rig, central)
        central.accept_all()
        central.refuse("two", EventType.EMAIL_ANSWERED)
        assert await rig.outbox.dead_letters.retry("epoch-1", 3)
        await deliver(rig, central)
        terms = LearnedTerms("program", "{}", '"etag"')
        await rig.outbox.access.write(keep_terms, terms, rig.clock())
        await rig.capture(session("three"), answer("three"), session("four"), answer("four"))
        await rig.capture(session("five"), session("six"), answer("six"))
        await rig.outbox.access.write_hot(_mark_doubtful)
    with closing(sqlite3.connect(directory / DATABASE_FILE, isolation_level=None)) as connection:
        for statement in ANY_VALUE:
            connection.execute(statement)
    return Prepared(directory, central.ledger)


def _mark_doubtful(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO doubt (destination, position) VALUES ('central', 7)")


async def deliver(rig: OutboxRig, central: ScriptedCentral) -> PassReport:
    """Run one delivery pass over the protocol `batch`."""
    client = CentralClient(InMemoryClient(central), "http://head-office", NoCredentials(), _now)
    one = DeliveryPass(rig.outbox, batch_transport(client), Throttle(sleep=_no_sleep))
    return await one.run()


def _now() -> datetime:
    return NOW


async def _no_sleep(_seconds: float) -> None:
    """Wait for nothing."""


@asynccontextmanager
async def restarted(
    prepared: Prepared, directory: Path
) -> AsyncIterator[tuple[OutboxRig, ScriptedCentral]]:
    """Start the store on damaged files, with head office as it was."""
    central = ScriptedCentral()
    central.ledger = copy.deepcopy(prepared.ledger)
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        outbox_on(directory, epochs=EpochIds(iter(range(2, 99)))) as rig,
    ):
        yield rig, central


def plant(directory: Path, kind: Kind) -> None:
    """Damage the database of a stopped agent."""
    with closing(sqlite3.connect(directory / DATABASE_FILE, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints=ON")
        before = connection.total_changes
        for statement in kind.sql:
            connection.execute(statement)
        assert connection.total_changes > before or "DROP" in kind.sql[0], "nothing was damaged"


def kinds() -> list[Kind]:
    """Return all kinds."""
    return [*_named(), *_systematic()]


def _named() -> Iterator[Kind]:
    """Yield the kinds that were seen to stop an agent."""
    yield from _named_events()
    yield from _named_cursors()
    four = frozenset({SESSION, ANSWER})
    yield Kind("correlation id not UTF-8", (_set("session", "correlation_id", NOT_UTF8),), four)
    yield Kind("another correlation id", (_set("session", "correlation_id", "'zwei'"),), four)
    yield Kind("session of an answer gone", ("DELETE FROM session WHERE position = 7",), four)
    yield Kind("altered status", (_set("email_answer", "status", "'deferred'"),), _ONE_ANSWER)
    letter = [_set("dead_letter", column, NOT_UTF8) for column in ("error_code", "error_message")]
    yield Kind("dead letter not UTF-8", tuple(letter))
    terms = [_set("program_terms", column, NOT_UTF8) for column in ("terms", "etag")]
    yield Kind("program terms not UTF-8", tuple(terms))
    yield Kind("schema revision gone", ("DELETE FROM alembic_version",))
    yield Kind("schema revision's table gone", ("DROP TABLE alembic_version",))
    for value in ("'0001'", "'0002'", "''", "'nonsense'", "NULL", NOT_UTF8):
        yield Kind(f"schema revision {value}", (_set("alembic_version", "version_num", value),))


def _named_events() -> Iterator[Kind]:
    four = frozenset({SESSION, ANSWER})
    altered = "replace(CAST(body AS TEXT), 'four', 'fuor')"
    for name, column, value in (
        ("unknown event type", "type", "'nonsense'"),
        ("event type not UTF-8", "type", NOT_UTF8),
        ("empty body", "body", "x''"),
        ("body of another kind of JSON", "body", "x'5b5d'"),
        ("body null", "body", "NULL"),
        ("time that is text", "occurred_at_us", "'then'"),
        ("unknown boot", "boot_number", "99"),
        ("event number at the largest integer", "position", str(LARGEST)),
        ("event number far above the last", "position", "5000000"),
        ("altered body", "body", f"CAST({altered} AS BLOB)"),
        ("altered body that is text", "body", altered),
        ("altered time", "occurred_at_us", "occurred_at_us + 1"),
    ):
        yield Kind(name, (_set("event", column, value),), four)
    last = frozenset({11})
    far = "UPDATE event SET position = 5000000 WHERE position = 11"
    yield Kind("last event's number far above", (far,), last)
    yield Kind("last event gone", ("DELETE FROM event WHERE position = 11",), last)


def _named_cursors() -> Iterator[Kind]:
    for name, value in (
        ("that is text", "'high'"),
        ("above the last number", "1000"),
        ("of the last number", "11"),
        ("at the largest integer", str(LARGEST)),
    ):
        yield Kind(f"watermark {name}", (_set("destination", "watermark", value),))
    numbers = [_set("destination", column, str(LARGEST)) for column in _COLUMNS["destination"][1:7]]
    yield Kind("all of the cursor at the largest integer", tuple(numbers))
    yield Kind("watermark's row gone", ("DELETE FROM destination",))
    for value in (str(LARGEST), "'x'"):
        yield Kind(f"settled number {value}", (_set("settled", "position", value),))
    for value in ("100", str(LARGEST)):
        yield Kind(f"epoch above its end: {value}", (_set("epoch", "base_position", value),))
    yield Kind("epochs gone", ("DELETE FROM epoch",))
    yield Kind("epoch and watermark gone", ("DELETE FROM epoch", "DELETE FROM destination"))


_ONE_ANSWER = frozenset({ANSWER})
_COLUMNS = {
    "event": [
        "position",
        "type",
        "session_position",
        "occurred_at_us",
        "monotonic_us",
        "boot_number",
        "body",
    ],
    "session": ["position", "correlation_id", "query_locale", "closed"],
    "email_answer": ["position", "session_position", "status", "address", "address_mark"],
    "epoch": ["number", "epoch", "base_position", "began_at_us", "reason", "moved_events"],
    "boot": ["number", "boot_id", "first_seen_us"],
    "destination": [
        "name",
        "watermark",
        "attempting_from",
        "attempting_through",
        "erased_through",
        "purged_through",
        "digests_erased_through",
        "scrubs",
        "purged_early_at_us",
        "purged_early_kept_us",
        "purged_early_reason",
    ],
    "delivery": ["destination", "through_position", "delivered_at_us"],
    "settled": ["destination", "position", "delivered_at_us"],
    "doubt": ["destination", "position"],
    "dead_letter": [
        "destination",
        "position",
        "error_code",
        "error_message",
        "http_status",
        "refused_at_us",
        "attempts",
        "discarded_at_us",
        "retry_wanted",
        "agent_version",
        "stuck_since_us",
        "next_try_at_us",
    ],
    "program_terms": ["source", "etag", "terms", "learned_at_us"],
}
_ROWS = {"event": SESSION, "session": SESSION, "email_answer": ANSWER}
_KEYS = {f"{table}.position" for table in _ROWS} | {"epoch.number", "boot.number"}
# The value of the key in a doubled row.
_DOUBLES = {
    "event": ("position", "12"),
    "session": ("position", "12", "correlation_id", "'four-again'"),
    "email_answer": ("position", "12"),
    "epoch": ("number", "2", "epoch", "'epoch-x'"),
    "boot": ("number", "2", "boot_id", "'boot-x'"),
    "destination": ("name", "'centrax'"),
    "delivery": ("through_position", "9"),
    "settled": ("position", "12"),
    "doubt": ("position", "12"),
    "dead_letter": ("position", "12"),
    "program_terms": ("source", "'programm'"),
}
_VALUES = {
    "null": "NULL",
    "text": "'text'",
    "a blob": "x'00ff'",
    "not UTF-8": NOT_UTF8,
    "empty": "''",
    "negative": "-1",
    "zero": "0",
    "a fraction": "1.5",
    "the largest integer": str(LARGEST),
}
# A key of SQLite's own numbering takes no other type.
_INTEGERS = {"negative", "zero", "the largest integer"}
# Much like others: in the campaign only.
RARE = {"a blob", "empty", "a fraction", "text"}
_SPOILT = {
    "event": frozenset({SESSION, ANSWER}),
    "session": frozenset({SESSION, ANSWER}),
    "email_answer": _ONE_ANSWER,
}


def _systematic() -> Iterator[Kind]:
    """Yield every column with every value, and each table's row gone and doubled."""
    for table, columns in _COLUMNS.items():
        spoilt = _SPOILT.get(table, frozenset())
        for column in columns:
            for name, value in _VALUES.items():
                if f"{table}.{column}" not in _KEYS or name in _INTEGERS:
                    sql = _set(table, column, value)
                    yield Kind(f"{table}.{column} {name}", (sql,), spoilt, is_rare=name in RARE)
        gone = f"DELETE FROM {table} {_where(table)}"  # noqa: S608 - this test's own names
        yield Kind(f"{table} row gone", (gone,), spoilt)
        yield Kind(f"{table} row doubled", (_double(table, columns),), spoilt)


def _set(table: str, column: str, value: str) -> str:
    return f"UPDATE {table} SET {column} = {value} {_where(table)}"  # noqa: S608 - own names


def _where(table: str) -> str:
    return f"WHERE position = {_ROWS[table]}" if table in _ROWS else ""


def _double(table: str, columns: Sequence[str]) -> str:
    """Return the SQL that copies a row under another key."""
    changes = iter(_DOUBLES[table])
    values = dict(zip(changes, changes, strict=True))
    names, copied = ", ".join(columns), ", ".join(values.get(name, name) for name in columns)
    return f"INSERT INTO {table} ({names}) SELECT {copied} FROM {table} {_where(table)} LIMIT 1"  # noqa: S608 - own names


def waiting_intact(spoilt: Sequence[int] | frozenset[int]) -> list[tuple[str, bool]]:
    """Return session and whether it is an answer of each waiting capture that is not spoilt."""
    seen: set[str] = set()
    found = []
    for position, name in enumerate(WAITING, FIRST_WAITING):
        if position not in spoilt:
            found.append((name, name in seen))
        seen.add(name)
    return found
