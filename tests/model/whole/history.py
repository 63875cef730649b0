"""Histories: lists of steps, as text, and as they run."""

import asyncio
import gc
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from sync.receiver.db.database import Database
from sync.receiver.db.postgresql import Postgresql
from sync.receiver.db.sqlite import SqliteFile
from tests.model.whole.clocks import TrueTime
from tests.model.whole.fast_storage import fast_storage
from tests.model.whole.head_office import HeadOffice
from tests.model.whole.invariants import breaches, look
from tests.model.whole.quiet_end import come_to_rest
from tests.model.whole.steps.all_steps import AllSteps
from tests.model.whole.steps.chain import make_template
from tests.support.virtual_time import AtOnce, VirtualLoop

Step: TypeAlias = tuple[str | int, ...]
History: TypeAlias = Sequence[Step]

_HISTORIES_PER_COLLECTION = 50


class Histories:
    """Runs histories one after another on one head office."""

    def __init__(self, root: Path, database: Database) -> None:
        self._root, self._database, self._count = root, database, 0

    def run(self, history: History) -> None:
        """Run a history to its end. Raises `AssertionError` with the promises it breaks."""
        self._runner.run(self._run(history))

    @contextmanager
    def running(self, loop_factory: type[asyncio.AbstractEventLoop]) -> Iterator["Histories"]:
        """Open the database until the block ends."""
        with (
            without_gc(),
            fast_storage(),
            asyncio.Runner(loop_factory=loop_factory) as self._runner,
        ):
            self._runner.run(self._begin())
            try:
                yield self
            finally:
                self._runner.run(self._database.close())

    async def _begin(self) -> None:
        await self._database.open()
        time = TrueTime()
        self._template = await make_template(self._root, HeadOffice(self._database, time), time)

    async def _run(self, history: History) -> None:
        time = TrueTime()
        office = HeadOffice(self._database, time)
        with tempfile.TemporaryDirectory(dir=self._root) as directory:
            chain = AllSteps(Path(directory), office, time)
            try:
                await chain.begin(self._template)
                for name, *arguments in history:
                    step: Callable[..., object] = getattr(chain, str(name))
                    await step(*arguments)  # type: ignore[misc] # each step is a coroutine
                    time.pass_us(1_000_000)
                await come_to_rest(chain)
                found = list(breaches(await look(chain)))
            finally:
                await chain.end()
                self._count += 1
                if self._count % _HISTORIES_PER_COLLECTION == 0:
                    gc.collect()
        assert not found, "\n".join(found)


@contextmanager
def without_gc() -> Iterator[None]:
    """Leave garbage until the block ends: collecting it takes a fifth of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def histories_on_sqlite(root: Path) -> Iterator[Histories]:
    """Run histories with head office on SQLite."""
    database = SqliteFile(root / "hq.db")
    for threads in ("_write_thread", "_read_threads"):
        setattr(database, threads, AtOnce())
    with Histories(root, database).running(VirtualLoop) as running:
        yield running


@contextmanager
def histories_on_postgresql(root: Path, url: str) -> Iterator[Histories]:
    """Run histories with head office on PostgreSQL, in a loop that can wait for its answers."""
    with Histories(root, Postgresql(url)).running(asyncio.SelectorEventLoop) as running:
        yield running


def as_text(history: History) -> str:
    """Return a history as text, one step a line."""
    return "\n".join(f"({', '.join(map(repr, step))})," for step in history)
