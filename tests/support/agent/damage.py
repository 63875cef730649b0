"""Damage to the files of a killed store, and the helpers that restart an agent on them."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.facts import Outcome, Recorded
from agent.store.db.connect import DATABASE_FILE
from agent.store.files.quarantine import list_quarantined
from agent.store.store import Store
from agent.store.writer import Writer
from tests.support.agent.outbox import ignore_commit
from tests.support.agent.store import AT, EpochIds, crashed_copy, opened, opener, record, session

CAPTURES = 400
IN_WAL = 200
PAGE = 4096
GROUP = 20
NAMES = [f"guest-{n:05d}-session" for n in range(CAPTURES)]


def killed_store(place: Path) -> Path:
    """Create the files of a killed agent: half of the captures in the database, half in the WAL."""
    with opened(place / "live", EpochIds()) as store:
        for number, group in enumerate(groups(NAMES), 1):
            record(store, *[session(name) for name in group])
            if number * GROUP == CAPTURES - IN_WAL:
                store.checkpoint()
                store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return crashed_copy(place / "live", place / "killed")


def groups(names: list[str]) -> Iterator[list[str]]:
    """Yield the names in groups."""
    for start in range(0, len(names), GROUP):
        yield names[start : start + GROUP]


@dataclass(frozen=True, slots=True)
class File:
    """A file of the store to be damaged."""

    path: Path
    rng: random.Random

    @property
    def length(self) -> int:
        """The length without trailing zeros: the WAL is preallocated."""
        return len(self.path.read_bytes().rstrip(b"\0"))

    def randomize(self, start: int, length: int) -> None:
        """Overwrite a range with random bytes."""
        self.overwrite(start, self.rng.randbytes(length))

    def overwrite(self, start: int, content: bytes) -> None:
        """Replace a range."""
        with self.path.open("r+b") as target:
            target.seek(start)
            target.write(content)

    def truncate(self, length: int) -> None:
        """Truncate to `length` bytes."""
        with self.path.open("r+b") as target:
            target.truncate(length)

    def remove(self) -> None:
        """Delete the file."""
        self.path.unlink()


Action = Callable[[File], object]
Damage = Sequence[tuple[str, Action]]
DB, WAL, SHM = DATABASE_FILE, f"{DATABASE_FILE}-wal", f"{DATABASE_FILE}-shm"

DAMAGES: dict[str, Damage] = {
    "a database cut in half": [(DB, lambda file: file.truncate(file.length // 2 // PAGE * PAGE))],
    "a database cut in the middle of a page": [(DB, lambda file: file.truncate(5000))],
    "a database of one page": [(DB, lambda file: file.truncate(PAGE))],
    "an empty database": [(DB, lambda file: file.truncate(0))],
    "an empty database without a WAL": [(DB, lambda file: file.truncate(0)), (WAL, File.remove)],
    "a garbage header": [(DB, lambda file: file.randomize(0, 100))],
    "a garbage header without a WAL": [
        (DB, lambda file: file.randomize(0, 100)),
        (WAL, File.remove),
    ],
    "garbage all through": [(DB, lambda file: file.randomize(0, file.length))],
    "zeros all through": [(DB, lambda file: file.overwrite(0, bytes(file.length)))],
    "zeros from the second page on": [
        (DB, lambda file: file.overwrite(PAGE, bytes(file.length - PAGE)))
    ],
    "zeroed pages in the middle": [(DB, lambda file: file.overwrite(12 * PAGE, bytes(8 * PAGE)))],
    "something else of that name": [(DB, lambda file: file.path.write_text("not a database\n"))],
    "no database": [(DB, File.remove)],
    "a garbage WAL header": [(WAL, lambda file: file.randomize(0, 32))],
    "garbage in the first frame": [(WAL, lambda file: file.randomize(100, 64))],
    "garbage in the middle of the WAL": [(WAL, lambda file: file.randomize(file.length // 2, 64))],
    "a WAL of garbage": [(WAL, lambda file: file.randomize(0, file.length))],
    "a WAL cut in half": [(WAL, lambda file: file.truncate(file.length // 2))],
    "no WAL": [(WAL, File.remove)],
    "a garbage WAL index": [(SHM, lambda file: file.randomize(0, file.length))],
    "a garbage database and a WAL with a hole": [
        (DB, lambda file: file.randomize(0, file.length)),
        (WAL, lambda file: file.randomize(file.length // 2, 64)),
    ],
}


def apply_damage(damage: Damage, directory: Path) -> None:
    """Apply the damage to the files of a store; deterministic."""
    rng = random.Random(1)
    for name, action in damage:
        action(File(directory / name, rng))


def damage_somewhere(directory: Path, rng: random.Random) -> None:
    """Overwrite a few places of the database or its WAL, as a failing disk does."""
    file = File(directory / rng.choice([DB, WAL]), rng)
    for _ in range(rng.choice([1, 1, 3])):
        start = rng.randrange(file.length)
        content = rng.choice([rng.randbytes(rng.choice([1, 16, 512])), bytes(PAGE)])
        file.overwrite(start, content[: file.length - start])


@dataclass(slots=True)
class Aftermath:
    """State after an agent ran on damaged files: `seen` before the repeats, `live` after them."""

    new: Outcome
    seen: set[str]
    again: list[Outcome]
    live: set[str]
    quarantined: list[str]

    @property
    def new_receipt(self) -> str:
        """The receipt of the new session; empty if it was not recorded."""
        return str(self.new.receipt) if isinstance(self.new, Recorded) else ""


async def restart_on(directory: Path, again: Iterable[str]) -> Aftermath:
    """Start a writer on the files; record a new session and repeat old ones."""
    writer = Writer(opener(directory, epochs=EpochIds(iter(range(2, 100)))), ignore_commit)
    writer.start()
    try:
        new = await writer.record(session("new"), AT)
        seen = await writer.run(sessions_in)
        repeated = [await writer.record(session(name), AT) for name in again]
        live = await writer.run(sessions_in)
    finally:
        await writer.close()
    return Aftermath(new, seen, repeated, live, list_quarantined(directory))


def sessions_in(store: Store) -> set[str]:
    """Return the correlation ids in the store."""
    rows = store.connection.execute("SELECT correlation_id FROM session")
    return {row[0] for row in rows}


def captures_on_disk(directory: Path) -> set[str]:
    """Return the captures whose bytes are in any file of the directory."""
    content = b"".join(file.read_bytes() for file in directory.rglob("*") if file.is_file())
    return {name for name in NAMES if name.encode() in content}


def is_recorded(outcome: Outcome) -> bool:
    """Return whether the till was answered "recorded"."""
    return isinstance(outcome, Recorded)
