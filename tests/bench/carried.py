"""Benchmark of what is carried by hand: the export of a backlog, and its import on both databases.

An import has its limit from the same round: the same batches, stored one after the other as they
would be if the till had sent them. The ratio says how much of that time an import takes.
"""

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from agent.export.backlog import Backlog
from agent.export.bundle import Seal, write_bundle
from agent.facts import Timestamp
from sync.delivery.transports.batch.documents import Sender
from sync.protocol.bundle.sealing import key_id_of
from sync.receiver.auth.enrolment import Enrolment
from sync.receiver.carried.bundle_file import BundleFile, open_bundle
from sync.receiver.carried.import_bundle import BundleImport, ImportReport
from sync.receiver.db.database import Database
from sync.receiver.db.postgresql import Postgresql
from sync.receiver.db.sqlite import SqliteFile
from sync.receiver.ingest.ledger import Ledger
from sync.receiver.ingest.parse import parse_batch
from tests.bench.start import fill
from tests.support.head_office.audit import audit_by
from tests.support.head_office.enrolment import issue_token
from tests.support.head_office.messages import AT
from tests.support.head_office.postgresql import started_server

STORE, TILL = "0042", "till-1"
_KEY = X25519PrivateKey.from_private_bytes(bytes(range(32)))


class Took(NamedTuple):
    """Seconds, and processor seconds of this process."""

    seconds: float
    processor: float


class Round(NamedTuple):
    """An import, and its limit."""

    imported: Took
    by_line: Took


async def measure_carried(directory: Path, events: int, rounds: int) -> None:
    """Measure and print; `directory` holds all files."""
    bundle = directory / "stick.bundle"
    fill(directory / "till", events)
    with bundle.open("wb") as file, _timed() as exported:
        _export(directory / "till", file)
    size = bundle.stat().st_size / 1e6
    print(f"export of {events:,}: {_words(exported[0])}, {size:.1f} MB")
    with started_server(directory) as server, bundle.open("rb") as file:
        opened = open_bundle(file, {key_id_of(_KEY.public_key()): _KEY})
        for kind in ("SQLite", "PostgreSQL"):
            done = []
            for number in range(2 * rounds):
                place = directory / f"{number}.db"
                url = "" if kind == "SQLite" else await server.new_database()
                database: Database = Postgresql(url) if url else SqliteFile(place)
                done.append(await _take(database, opened, as_bundle=number % 2 == 0))
            _print(kind, [Round(*pair) for pair in zip(done[::2], done[1::2], strict=True)])


def _export(directory: Path, file: BinaryIO) -> None:
    sender = Sender(STORE, TILL, "boot", "bench", lambda: Timestamp(time.time_ns() // 1000, 0))
    backlog = Backlog(directory, directory / "encryption.key")
    write_bundle(file, backlog, sender, Seal(_KEY.public_key(), bytes(32), None), lambda _: None)


async def _take(database: Database, bundle: BundleFile, *, as_bundle: bool) -> Took:
    """Store the bundle's events in a new database, in one way or the other."""
    await database.open()
    try:
        await issue_token(Enrolment(database), bundle.name, bytes(32))
        ledger = Ledger(database)
        work = BundleImport(database, ledger, audit_by(), lambda: AT)
        origin = await work.origin(bundle, accept_unproven=True)
        with _timed() as took:
            if as_bundle:
                await work.take(bundle, origin, "", ImportReport(), lambda _: None)
            else:
                for body in bundle.batches():
                    await ledger.store_batch(parse_batch(body, origin.sender, AT))
        return took[0]
    finally:
        await database.close()


@contextmanager
def _timed() -> Iterator[list[Took]]:
    took: list[Took] = []
    began, processor = time.monotonic(), time.process_time()
    yield took
    took.append(Took(time.monotonic() - began, time.process_time() - processor))


def _print(kind: str, rounds: list[Round]) -> None:
    ratios = [
        statistics.median(one.imported[figure] / one.by_line[figure] for one in rounds)
        for figure in range(len(Took._fields))
    ]
    least = Round(*(min(one[way] for one in rounds) for way in range(len(Round._fields))))
    print(
        f"import, {kind}: {_words(least.imported)}; the same batches by line:"
        f" {_words(least.by_line)}; ratio {ratios[0]:.2f}, processor {ratios[1]:.2f}"
    )


def _words(took: Took) -> str:
    return f"{took.seconds:.1f} s ({took.processor:.1f} s of processor)"
