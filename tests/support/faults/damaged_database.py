"""Damages the database of a killed agent by seed, and asks SQLite's own recovery what it finds.

A store with delivered and undelivered captures, half of it in the WAL; pages and frames are then
overwritten, zeroed, swapped, replaced by an older version, cut off, or bits in them are flipped.
The same seed makes the same bytes, so that a failure can be repeated: the store has times, names
and a key of its own, and the salts of its WAL are replaced.
"""

import os
import random
import shutil
import sqlite3
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path
from typing import Literal
from unittest import mock

from agent.facts import Capture, EmailAnswered, EmailStatus, SessionStarted, Timestamp
from agent.store.crypto.vault import DecryptionError, Vault, read_vault
from agent.store.db.connect import DATABASE_FILE
from agent.store.open import StoreOpener
from agent.store.store import Store, StoreEnvironment
from tests.support.agent.store import KEY_FILE, LIMITS, crashed_copy
from tests.support.patience import PATIENCE_SECONDS

PAGE = 4_096
FRAME = PAGE + 24
DB, WAL = DATABASE_FILE, f"{DATABASE_FILE}-wal"
SESSIONS, GROUP = 300, 25
DELIVERED = 180
_BEGIN_US = 1_767_225_600_000_000  # 2026
# A minute after the last capture.
FOUND_US = _BEGIN_US + 60_000_000
_SETTLE = (
    "INSERT INTO destination (name, watermark, erased_through) VALUES ('central', {0}, {0})",
    "INSERT INTO delivery VALUES ('central', {0}, {1})",
    "UPDATE email_answer SET address = NULL WHERE position <= {0}",
)
_FOUND = """
SELECT event.position, event.type, session.correlation_id, event.body, email_answer.status,
    email_answer.address
FROM event JOIN session ON session.position = event.session_position
LEFT JOIN email_answer ON email_answer.position = event.position
"""
# Type and id, what central must have of it, and the receipt of the till.
Name = tuple[str, str]
Content = tuple[object, ...]


@dataclass(slots=True)
class KilledStore:
    """The files of a killed agent, an older version of them, and what was acknowledged."""

    files: Path
    older: Path
    waiting: dict[Name, Content] = field(default_factory=dict)
    receipts: dict[Name, str] = field(default_factory=dict)
    captures: list[Capture] = field(default_factory=list)


def build_killed_store(place: Path) -> KilledStore:
    """Build the files: the first captures are delivered, the last half is in the WAL."""
    live, clock, rng = place / "live", count(_BEGIN_US, 1_000), random.Random(0)
    environment = StoreEnvironment(
        now_us=lambda: next(clock),
        new_epoch=lambda: str(uuid.UUID(bytes=rng.randbytes(16), version=4)),
        boot_id="boot-1",
    )
    with (
        mock.patch("os.urandom", rng.randbytes),
        closing(StoreOpener(live, live / KEY_FILE, LIMITS, environment).open()) as store,
    ):
        killed = KilledStore(place / "killed", place / "older")
        for start in range(0, SESSIONS, GROUP):
            _trade(store, killed, start, next(clock))
            if start == SESSIONS // 2:
                store.checkpoint()
                store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            if start == SESSIONS // 3:
                _deliver(store, DELIVERED, next(clock))
                store.checkpoint()
                with_salts(crashed_copy(live, killed.older) / WAL)
        delivered = {one.correlation_id for one in killed.captures[:DELIVERED]}
        assert len(delivered) * 2 == DELIVERED
        killed.waiting = {
            name: content for name, content in killed.waiting.items() if name[1] not in delivered
        }
        with_salts(crashed_copy(live, killed.files) / WAL)
    return killed


def with_salts(wal: Path, salts: bytes = b"salts..!") -> None:
    """Replace the salts of a WAL, which are random, in its header and in each frame.

    The format is https://www.sqlite.org/fileformat2.html#the_write_ahead_log, with checksums of
    big-endian words.
    """
    content = bytearray(wal.read_bytes())
    if not content:
        return
    used = content[16:24]
    order: Literal["little", "big"] = "big" if content[3] & 1 else "little"
    content[16:24] = salts
    sums = _checksum(bytes(content[:24]), (0, 0), order)
    content[24:32] = _words(sums)
    for at in range(32, len(content) - FRAME + 1, FRAME):
        if content[at + 8 : at + 16] != used:
            del content[at:]
            break
        content[at + 8 : at + 16] = salts
        covered = bytes(content[at : at + 8] + content[at + 24 : at + FRAME])
        sums = _checksum(covered, sums, order)
        content[at + 16 : at + 24] = _words(sums)
    wal.write_bytes(content)


def _checksum(
    content: bytes, sums: tuple[int, int], order: Literal["little", "big"]
) -> tuple[int, int]:
    one, other = sums
    for at in range(0, len(content), 8):
        one = (one + int.from_bytes(content[at : at + 4], order) + other) % 2**32
        other = (other + int.from_bytes(content[at + 4 : at + 8], order) + one) % 2**32
    return one, other


def _words(sums: tuple[int, int]) -> bytes:
    return b"".join(one.to_bytes(4, "big") for one in sums)


def _trade(store: Store, killed: KilledStore, start: int, at: int) -> None:
    captures = [one for n in range(start, start + GROUP) for one in _customer(n)]
    timed = [(one, Timestamp(at + n, 1_000_000 + at + n)) for n, one in enumerate(captures)]
    outcomes = store.write(store.decide(timed))
    killed.captures += captures
    for one, outcome in zip(captures, outcomes, strict=True):
        name, content = _kept(one)
        killed.waiting[name] = content
        killed.receipts[name] = str(outcome.receipt)  # type: ignore[union-attr] # recorded


def _customer(number: int) -> Iterator[Capture]:
    name = f"guest-{number:05d}-session"
    note = "x" * (5_000 if number % 40 == 7 else number % 90)
    body = b'{"correlationId":"%b","note":"%b"}' % (name.encode(), note.encode())
    yield SessionStarted(name, "fr-FR" if number % 3 else None, closed=False, body=body)
    address = f"guest.{number}@example.com"
    yield EmailAnswered(name, EmailStatus.ACCEPTED, address, b'{"status":"accepted"}')


def _kept(capture: Capture) -> tuple[Name, Content]:
    if isinstance(capture, SessionStarted):
        return ("session", capture.correlation_id), (capture.body.decode(),)
    return ("answer", capture.correlation_id), (str(capture.status), capture.address)


def _deliver(store: Store, through: int, at_us: int) -> None:
    def settle(connection: sqlite3.Connection) -> None:
        for statement in _SETTLE:
            connection.execute(statement.format(through, at_us))

    store.run(settle)


Act = Callable[["Target"], None]


@dataclass(frozen=True, slots=True)
class Target:
    """A file to damage; `block` is the size of its pages or frames, behind `head` bytes."""

    path: Path
    older: Path
    rng: random.Random

    @property
    def _layout(self) -> tuple[int, int]:
        return (32, FRAME) if self.path.name == WAL else (0, PAGE)

    def some(self, most: int = 4) -> list[int]:
        """Return the offsets of some blocks that are in use."""
        head, block = self._layout
        used = len(self.path.read_bytes().rstrip(b"\0"))
        blocks = max(1, (used - head) // block)
        count = self.rng.randint(1, min(most, blocks))
        return [head + block * n for n in self.rng.sample(range(blocks), count)]

    @property
    def block(self) -> int:
        """Return the size of a page or frame."""
        return self._layout[1]

    def read(self, at: int, size: int) -> bytes:
        """Return a range of the file."""
        return self.path.read_bytes()[at : at + size]

    def write(self, at: int, content: bytes) -> None:
        """Replace a range of the file."""
        with self.path.open("r+b") as file:
            file.seek(at)
            file.write(content)


def _overwrite(target: Target) -> None:
    for at in target.some():
        size = target.rng.choice([16, 512, target.block])
        target.write(at + target.rng.randrange(target.block - size + 1), target.rng.randbytes(size))


def _zero(target: Target) -> None:
    for at in target.some():
        size = target.rng.choice([512, target.block, target.block])
        target.write(at + target.rng.randrange(target.block - size + 1), bytes(size))


def _swap(target: Target) -> None:
    one, *others = target.some()
    for other in others or [target.some(1)[0]]:
        mine, theirs = target.read(one, target.block), target.read(other, target.block)
        target.write(one, theirs)
        target.write(other, mine)


def _make_stale(target: Target) -> None:
    for at in target.some():
        with target.older.open("rb") as file:
            file.seek(at)
            target.write(at, file.read(target.block))


def _truncate(target: Target) -> None:
    size = len(target.path.read_bytes().rstrip(b"\0"))
    with target.path.open("r+b") as file:
        file.truncate(target.rng.randrange(size // 3, size))


def _flip(target: Target) -> None:
    for at in target.some(8):
        place = at + target.rng.randrange(target.block)
        (byte,) = target.read(place, 1) or b"\0"
        target.write(place, bytes([byte ^ 1 << target.rng.randrange(8)]))


KINDS: dict[str, Act] = {
    "overwritten": _overwrite,
    "zeroed": _zero,
    "swapped": _swap,
    "stale": _make_stale,
    "truncated": _truncate,
    "bits flipped": _flip,
}


def damaged_copy(killed: KilledStore, seed: int, place: Path) -> str:
    """Copy the files to `place` and damage one of them; return how."""
    shutil.copytree(killed.files, place)
    rng = random.Random(seed)
    kind = list(KINDS)[seed % len(KINDS)]
    name = (DB, WAL)[seed // len(KINDS) % 2]
    KINDS[kind](Target(place / name, killed.older / name, rng))
    return f"{name}: {kind}"


@cache
def recovering_shell() -> str | None:
    """Return a shell of SQLite whose `.recover` works: `$SQLITE3_SHELL`, or `sqlite3` in the path.

    Most distributions build it without SQLITE_ENABLE_DBPAGE_VTAB, and then it does not.
    """
    for shell in (os.environ.get("SQLITE3_SHELL"), shutil.which("sqlite3")):
        command = [shell or "", ":memory:", "CREATE TABLE known (number)", ".recover"]
        if not shell:
            continue
        shown = subprocess.run(command, check=False, capture_output=True, text=True)
        if "known" in shown.stdout:
            return shell
    return None


def recovered_by_sqlite(place: Path, scratch: Path, killed: KilledStore) -> set[Name]:
    """Return the undelivered captures that `.recover` of SQLite's shell finds, unaltered."""
    shutil.copytree(place, scratch)
    recovered = scratch / "recovered.db"
    shell = recovering_shell()
    assert shell is not None
    script = subprocess.run(
        [shell, scratch / DB, ".recover"],
        capture_output=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    subprocess.run(
        [shell, recovered],
        input=script.stdout,
        capture_output=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    vault = read_vault(place / KEY_FILE)
    with closing(sqlite3.connect(recovered)) as connection:
        connection.text_factory = lambda text: text.decode(errors="replace")
        _add_lost_and_found(connection)
        try:
            rows = connection.execute(_FOUND).fetchall()
        except sqlite3.DatabaseError:
            return set()
    found = {_recovered(vault, *row[1:]) for row in rows}
    return {name for name, content in killed.waiting.items() if (name, content) in found}


def _add_lost_and_found(connection: sqlite3.Connection) -> None:
    """Put rows of pages that no table names any more into the tables that they look like."""
    for table, columns in (("event", 8), ("session", 4), ("email_answer", 5)):
        values = ", ".join(f"c{n}" for n in range(1, columns))
        try:
            connection.execute(
                f"INSERT OR IGNORE INTO {table} SELECT id, {values} FROM lost_and_found"  # noqa: S608 - the test's own values
                f" WHERE nfield = {columns} AND id IS NOT NULL AND c0 IS NULL"
            )
        except sqlite3.DatabaseError:
            continue


def _recovered(
    vault: Vault, kind: str, name: str, body: object, status: str | None, address: object
) -> tuple[Name, Content]:
    if kind == "session.started":
        text = body.decode(errors="replace") if isinstance(body, bytes) else ""
        return ("session", name), (text,)
    try:
        plain = vault.decrypt(address, name) if isinstance(address, bytes) else None
    except DecryptionError:
        plain = None
    return ("answer", name), (status, plain)
