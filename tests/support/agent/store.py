"""Test fixtures for the store: openers, captures, a fixed clock, readable epoch ids."""

import itertools
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from agent.facts import (
    Capture,
    EmailAnswered,
    EmailStatus,
    Outcome,
    Receipt,
    Recorded,
    SessionStarted,
    Timestamp,
)
from agent.store.db.connect import DATABASE_FILE
from agent.store.files.disk_space import SpaceLimits
from agent.store.open import StoreOpener
from agent.store.store import Store, StoreEnvironment
from tests.support.sqlite import rows_in

ADDRESS = "guest.one@example.com"
AT = Timestamp(wall_us=1_700_000_000_000_000, monotonic_us=5_000_000)
LIMITS = SpaceLimits(max_bytes=2**40, min_free_bytes=0, ballast_bytes=0)
KEY_FILE = "encryption.key"


@dataclass
class EpochIds:
    """Generates readable epoch ids: epoch-1, epoch-2, ..."""

    count: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def __call__(self) -> str:
        """Return the next id."""
        return f"epoch-{next(self.count)}"


def environment(epochs: EpochIds | None = None, boot_id: str = "boot-1") -> StoreEnvironment:
    """Return a fixed clock and readable ids."""
    return StoreEnvironment(
        now_us=lambda: AT.wall_us, new_epoch=epochs or EpochIds(), boot_id=boot_id
    )


def opener(
    directory: Path,
    *,
    limits: SpaceLimits = LIMITS,
    epochs: EpochIds | None = None,
    boot_id: str = "boot-1",
) -> StoreOpener:
    """Return a `StoreOpener` for `directory`."""
    return StoreOpener(directory, directory / KEY_FILE, limits, environment(epochs, boot_id))


@contextmanager
def opened(directory: Path, epochs: EpochIds | None = None) -> Iterator[Store]:
    """Open the store of `directory` until the block ends."""
    with closing(opener(directory, epochs=epochs).open()) as store:
        yield store


def session(
    name: str = "one", *, locale: str | None = None, closed: bool = False
) -> SessionStarted:
    """Return the start of the session `name`."""
    body = b'{"correlationId":"%b"}' % name.encode()
    return SessionStarted(name, locale, closed, body)


def answer(
    name: str = "one", address: str | None = ADDRESS, status: EmailStatus = EmailStatus.ACCEPTED
) -> EmailAnswered:
    """Return an e-mail answer of the session `name`, with an address only if accepted."""
    body = b'{"status":"%b"}' % status.value.encode()
    given = address if status is EmailStatus.ACCEPTED else None
    return EmailAnswered(name, status, given, body)


def record(store: Store, *captures: Capture) -> list[Outcome]:
    """Record `captures` as one group."""
    return store.write(store.decide([(capture, AT) for capture in captures]))


def new(sequence: int) -> Recorded:
    """Return the outcome of a new capture with this number."""
    return Recorded(Receipt("epoch-1", sequence), repeated=False)


def repeat(sequence: int) -> Recorded:
    """Return the outcome of a repeat of that capture."""
    return Recorded(Receipt("epoch-1", sequence), repeated=True)


def query(directory: Path, sql: str, *values: object) -> list[tuple[object, ...]]:
    """Query the database file in `directory`."""
    return rows_in(directory / DATABASE_FILE, sql, *values)


def change(directory: Path, *statements: str) -> None:
    """Change the database file of a closed store directly."""
    with closing(sqlite3.connect(directory / DATABASE_FILE, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def crashed_copy(directory: Path, place: Path, names: Sequence[str] = ()) -> Path:
    """Copy the files of an open store as a process killed now would leave them."""
    place.mkdir()
    for file in directory.iterdir():
        if file.is_file() and (not names or file.name in names):
            (place / file.name).write_bytes(file.read_bytes())
    return place
