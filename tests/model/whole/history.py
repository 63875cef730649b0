"""Histories: lists of steps, as text, as Hypothesis draws them, and as they run."""

import asyncio
import gc
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from hypothesis import strategies as st

from sync.receiver.db.database import Database
from sync.receiver.db.sqlite import SqliteFile
from tests.model.whole.clocks import TrueTime
from tests.model.whole.fast_storage import fast_storage
from tests.model.whole.head_office import HeadOffice
from tests.model.whole.invariants import breaches, look
from tests.model.whole.quiet_end import come_to_rest
from tests.model.whole.steps.all_steps import AllSteps
from tests.model.whole.steps.chain import make_template
from tests.model.whole.steps.tills import ODD_MEMBERS
from tests.support.virtual_time import AtOnce, VirtualLoop

Step: TypeAlias = tuple[str | int, ...]
History: TypeAlias = Sequence[Step]

_HISTORIES_PER_COLLECTION = 50
_TILL = st.integers(0, 1)
_INDEX = st.integers(0, 3)
_FAULT = st.integers(0, 4)
_ODD = st.integers(0, len(ODD_MEMBERS) - 1)
_POINTS = st.integers(0, 12)


_INNER = st.one_of(
    st.tuples(st.just("session"), st.just(0)),
    st.tuples(st.just("answer"), _INDEX, _INDEX),
    st.tuples(st.just("deliver"), _FAULT, _FAULT),
    st.tuples(st.just("heartbeat"), _FAULT),
    st.tuples(st.just("clean_up")),
    st.tuples(st.just("restart")),
)
# The arguments of each step.
STEPS: Mapping[str, Sequence[st.SearchStrategy[int]]] = {
    "session": [_TILL, _ODD],
    "answer": [_TILL, _INDEX, _ODD],
    "repeat_session": [_TILL, _INDEX],
    "repeat_answer": [_TILL, _INDEX],
    "same_id": [_TILL, _INDEX],
    "failed_commit": [_TILL, _INDEX],
    "deliver": [_TILL, _FAULT, _FAULT],
    "heartbeat": [_TILL, _FAULT],
    "late_arrives": [st.integers(0, 9)],
    "clean_up": [_TILL],
    "restart": [_TILL],
    "reboot": [_TILL],
    "step_clock": [_TILL, _FAULT],
    "wait": [_INDEX],
    "image": [_TILL],
    "put_back": [_INDEX, st.integers(0, 1)],
    "lose_wal": [_TILL],
    "clone": [_INDEX],
    "replace": [_TILL],
    "come_back": [_INDEX],
    "retry": [_TILL, _INDEX],
    "discard": [_TILL, _INDEX],
    "refuse": [_INDEX],
    "understand": [],
    "publish": [st.integers(0, 2)],
    "back_up": [],
    "restore": [_INDEX],
    "purge_office": [],
    "forget": [_INDEX],
    "revoke": [_TILL],
    "enroll": [_TILL],
}
_OFTEN = ("session", "session", "answer", "deliver", "deliver", "heartbeat", "wait", "kill", "kill")


def histories(max_steps: int = 14, without: Collection[str] = ()) -> st.SearchStrategy[list[Step]]:
    """Return all histories, or those without some kinds of steps."""
    names = [name for name in (*STEPS, "kill", *_OFTEN) if name not in without]
    return st.lists(st.one_of(*map(_step, names)), min_size=4, max_size=max_steps)


def _step(name: str) -> st.SearchStrategy[Step]:
    if name == "kill":
        return st.builds(_kill, _TILL, _POINTS, _INNER)
    return st.tuples(st.just(name), *STEPS[name])


def _kill(till: int, points: int, inner: Step) -> Step:
    return ("kill", till, points, *inner)


class Histories:
    """Runs histories one after another on one head office."""

    def __init__(self, root: Path, database: Database) -> None:
        self._root, self._database, self._count = root, database, 0

    def run(self, history: History) -> None:
        """Run a history to its end. Raises `AssertionError` with the promises it breaks."""
        self._runner.run(self._run(history))

    @contextmanager
    def running(self) -> Iterator["Histories"]:
        """Open the database until the block ends."""
        with without_gc(), fast_storage(), asyncio.Runner(loop_factory=VirtualLoop) as self._runner:
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
    with Histories(root, database).running() as running:
        yield running


def as_text(history: History) -> str:
    """Return a history as text, one step a line."""
    return "\n".join(f"({', '.join(map(repr, step))})," for step in history)
