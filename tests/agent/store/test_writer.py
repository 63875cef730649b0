"""The writer: group commit, answers after the commit, isolation of failures."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import pytest

from agent.facts import (
    NoOpenSession,
    Outcome,
    Receipt,
    Recorded,
    SessionStarted,
)
from agent.store.files.storage_errors import (
    StorageDamagedError,
    StorageDownError,
    StorageError,
    StorageFullError,
)
from agent.store.journal.journal import Group
from agent.store.open import StoreOpener
from agent.store.store import Store
from agent.store.writer import MAX_GROUP, Writer, WriterOverloadedError
from tests.support.agent.store import AT, answer, opener, query, session
from tests.support.patience import PATIENCE_SECONDS

POISON = SessionStarted("poison \ud800", None, closed=False, body=b"{}")


@dataclass
class Commits:
    """A commit observer that records the sizes of the groups."""

    groups: list[int] = field(default_factory=list)

    def committed(self, captures: int, seconds: float) -> None:
        """Record a commit."""
        assert seconds >= 0
        self.groups.append(captures)


@dataclass
class Rig:
    """A running writer on a real directory, with a gate that blocks its thread."""

    writer: Writer
    commits: Commits
    directory: Path

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Block the writer's thread until the block ends, so that captures queue up."""
        entered, free = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def hold(_store: Store) -> None:
            loop.call_soon_threadsafe(entered.set)
            assert free.wait(PATIENCE_SECONDS)

        holding = asyncio.create_task(self.writer.run(hold))
        await entered.wait()
        try:
            yield
        finally:
            free.set()
        await holding


@asynccontextmanager
async def writing(directory: Path, *, max_queued: int = 10_000) -> AsyncIterator[Rig]:
    """Run a writer on `directory` until the block ends."""
    commits = Commits()
    writer = Writer(opener(directory), commits.committed, max_queued=max_queued)
    writer.start()
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            yield Rig(writer, commits, directory)
    finally:
        await writer.close()


async def next_iteration() -> None:
    """Wait for the end of this event loop iteration."""
    turn = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(turn.set_result, None)
    await turn


async def test_queued_captures_share_one_commit(tmp_path: Path) -> None:
    async with writing(tmp_path) as rig:
        async with rig.held():
            replies = [rig.writer.record(session(f"s{n}"), AT) for n in range(100)]
        outcomes = await asyncio.gather(*replies)
    assert rig.commits.groups == [100]
    assert outcomes == [Recorded(Receipt("epoch-1", n), repeated=False) for n in range(1, 101)]


async def test_captures_beyond_the_group_size_form_the_next_group(tmp_path: Path) -> None:
    size = MAX_GROUP // 2 + 1
    async with writing(tmp_path) as rig:
        replies = []
        async with rig.held():
            for turn in range(3):
                replies += [rig.writer.record(session(f"{turn}/{n}"), AT) for n in range(size)]
                await next_iteration()
        await asyncio.gather(*replies)
    assert rig.commits.groups == [MAX_GROUP, 3 * size - MAX_GROUP]


async def test_single_capture_is_committed_at_once(tmp_path: Path) -> None:
    async with writing(tmp_path) as rig:
        await rig.writer.record(session("one"), AT)
        await rig.writer.record(session("two"), AT)
    assert rig.commits.groups == [1, 1]


async def test_answered_capture_is_visible_to_other_connections(tmp_path: Path) -> None:
    async with writing(tmp_path) as rig:
        await rig.writer.record(session("one"), AT)
        assert query(tmp_path, "SELECT correlation_id FROM session") == [("one",)]


async def test_refused_capture_does_not_fail_its_group(tmp_path: Path) -> None:
    async with writing(tmp_path) as rig:
        async with rig.held():
            replies = [
                rig.writer.record(capture, AT)
                for capture in (session("one"), answer("unknown"), session("two"))
            ]
        outcomes = await asyncio.gather(*replies)
    assert outcomes == [
        Recorded(Receipt("epoch-1", 1), repeated=False),
        NoOpenSession(),
        Recorded(Receipt("epoch-1", 2), repeated=False),
    ]
    assert rig.commits.groups == [3]


async def test_unencodable_capture_does_not_fail_its_group(tmp_path: Path) -> None:
    """Half a surrogate pair cannot be encoded as UTF-8; earlier checks should keep it out."""
    async with writing(tmp_path) as rig:
        async with rig.held():
            replies = [
                rig.writer.record(capture, AT)
                for capture in (session("one"), POISON, session("two"))
            ]
        one, poison, two = await asyncio.gather(*replies, return_exceptions=True)
        assert [one, two] == [
            Recorded(Receipt("epoch-1", 1), repeated=False),
            Recorded(Receipt("epoch-1", 2), repeated=False),
        ]
        assert isinstance(poison, UnicodeEncodeError)
        assert not rig.writer.died.done()
        assert await rig.writer.record(session("three"), AT) == Recorded(
            Receipt("epoch-1", 3), repeated=False
        )


async def test_capture_beyond_the_queue_limit_is_rejected_at_once(tmp_path: Path) -> None:
    """Items that the thread is working on count as well."""
    async with writing(tmp_path, max_queued=4) as rig:
        async with rig.held():
            replies = [rig.writer.record(session(f"s{n}"), AT) for n in range(3)]
            assert rig.writer.queued == 4
            with pytest.raises(WriterOverloadedError):
                rig.writer.record(session("too many"), AT)
        await asyncio.gather(*replies)
        await rig.writer.record(session("later"), AT)
        assert rig.writer.queued == 0
    assert len(query(tmp_path, "SELECT 1 FROM event")) == 4


async def test_close_answers_everything_in_the_queue(tmp_path: Path) -> None:
    async with writing(tmp_path) as rig:
        async with rig.held():
            replies = [rig.writer.record(session(f"s{n}"), AT) for n in range(2 * MAX_GROUP)]
            closing = asyncio.create_task(rig.writer.close())
            await asyncio.wait({closing}, timeout=0)
        await closing
        outcomes = await asyncio.gather(*replies)
    assert len(outcomes) == 2 * MAX_GROUP
    assert len(query(tmp_path, "SELECT 1 FROM event")) == 2 * MAX_GROUP


async def test_close_is_idempotent_and_later_captures_are_rejected(tmp_path: Path) -> None:
    async with writing(tmp_path) as rig:
        await asyncio.gather(rig.writer.close(), rig.writer.close())
        await rig.writer.close()
        with pytest.raises(StorageDownError):
            rig.writer.record(session(), AT)
        with pytest.raises(StorageDownError):
            await rig.writer.check(1)


async def test_cancelled_request_leaves_its_capture_recorded(tmp_path: Path) -> None:
    async with writing(tmp_path) as rig:
        async with rig.held():
            given_up = rig.writer.record(session("one"), AT)
            kept = rig.writer.record(session("two"), AT)
            given_up.cancel()
        assert await kept == Recorded(Receipt("epoch-1", 2), repeated=False)
        repeated = await rig.writer.record(session("one"), AT)
    assert repeated == Recorded(Receipt("epoch-1", 1), repeated=True)


async def test_job_runs_after_earlier_captures_and_returns_its_result(
    tmp_path: Path,
) -> None:
    async with writing(tmp_path) as rig:
        async with rig.held():
            recorded = rig.writer.record(session("one"), AT)
            job = asyncio.create_task(rig.writer.run(lambda store: store.epochs.last.sequence))
            await asyncio.wait({job}, timeout=0)
        await recorded
        assert await job == 1


async def test_job_that_raises_does_not_affect_later_captures(tmp_path: Path) -> None:
    def fail(_store: Store) -> NoReturn:
        raise ZeroDivisionError

    async with writing(tmp_path) as rig:
        with pytest.raises(ZeroDivisionError):
            await rig.writer.run(fail)
        await rig.writer.record(session(), AT)


async def test_check_detects_a_writer_thread_that_hangs(tmp_path: Path) -> None:
    async with writing(tmp_path) as rig:
        async with rig.held():
            with pytest.raises(StorageDownError, match="in time"):
                await rig.writer.check(0.01)
        await rig.writer.check(5)


async def test_captures_queued_before_the_store_opens_are_recorded(tmp_path: Path) -> None:
    writer = Writer(opener(tmp_path), Commits().committed)
    writer.start()
    outcome = await writer.record(session(), AT)
    await writer.close()
    assert outcome == Recorded(Receipt("epoch-1", 1), repeated=False)


class FaultyOpener(StoreOpener):
    """Opens real stores whose `write` raises the planned errors, one for each call."""

    def __init__(self, directory: Path, faults: Sequence[BaseException | None]) -> None:
        self.opened = 0
        self.reasons: list[str] = []
        self.quarantine_error: OSError | None = None
        self._faults = list(faults)
        real = opener(directory)
        super().__init__(directory, real.key_file, real.limits, real.environment)

    def open(self) -> Store:
        """Open the store with its planned faults."""
        self.opened += 1
        store = super().open()
        usual = store.write

        def write_or_raise(group: Group) -> list[Outcome]:
            if self._faults and (fault := self._faults.pop(0)):
                raise fault
            return usual(group)

        store.write = write_or_raise  # type: ignore[method-assign] # the planned fault
        return store

    def quarantine(self, reason: str) -> None:
        """Record the call, or fail as planned."""
        self.reasons.append(reason)
        if self.quarantine_error:
            raise self.quarantine_error


@asynccontextmanager
async def writing_with(faulty: FaultyOpener) -> AsyncIterator[Writer]:
    """Run a writer on a store with planned faults."""
    writer = Writer(faulty, Commits().committed, reopen_seconds=0.01)
    writer.start()
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            yield writer
    finally:
        await writer.close()


async def test_failed_store_is_reopened_and_the_capture_retried(
    tmp_path: Path,
) -> None:
    faulty = FaultyOpener(tmp_path, [StorageDownError("an I/O error")])
    async with writing_with(faulty) as writer:
        assert await writer.record(session(), AT) == Recorded(Receipt("epoch-1", 1), repeated=False)
    assert faulty.opened == 2


async def test_capture_fails_when_the_store_fails_twice_and_the_writer_goes_on(
    tmp_path: Path,
) -> None:
    faulty = FaultyOpener(
        tmp_path, [StorageDownError("an I/O error"), StorageDownError("and again")]
    )
    async with writing_with(faulty) as writer:
        with pytest.raises(StorageDownError):
            await writer.record(session(), AT)
        await writer.record(session(), AT)


async def test_damaged_store_is_quarantined_before_reopening(tmp_path: Path) -> None:
    faulty = FaultyOpener(tmp_path, [StorageDamagedError("zeros")])
    async with writing_with(faulty) as writer:
        await writer.record(session(), AT)
    assert faulty.reasons == ["zeros"]


async def test_full_disk_is_neither_reopened_nor_retried(tmp_path: Path) -> None:
    faulty = FaultyOpener(tmp_path, [StorageFullError("no room")])
    async with writing_with(faulty) as writer:
        with pytest.raises(StorageFullError):
            await writer.record(session(), AT)
        await writer.record(session(), AT)
    assert faulty.opened == 1


async def test_failing_quarantine_does_not_end_the_writer(tmp_path: Path) -> None:
    """With a full or read-only disk the file stays in place, tills get 503, and it is retried."""
    faulty = FaultyOpener(tmp_path, [StorageDamagedError("zeros")] * 2)
    faulty.quarantine_error = OSError(28, "No space left on device")
    async with writing_with(faulty) as writer:
        with pytest.raises(StorageError):
            await writer.record(session(), AT)
        assert not writer.died.done()
        faulty.quarantine_error = None
        await writer.record(session(), AT)


async def test_dying_writer_answers_every_till(tmp_path: Path) -> None:
    """The items that it worked on, those in the queue and later ones all get an answer."""
    faulty = FaultyOpener(tmp_path, [SystemExit("a fault of this program")])
    async with writing_with(faulty) as writer:
        replies = [writer.record(session(f"s{n}"), AT) for n in range(MAX_GROUP + 10)]
        answers = await asyncio.gather(*replies, return_exceptions=True)
        assert {type(answer) for answer in answers} == {StorageDownError}
        await writer.died
        with pytest.raises(StorageDownError):
            writer.record(session(), AT)


async def test_captures_committed_before_the_writer_died_are_answered_as_recorded(
    tmp_path: Path,
) -> None:
    """Answers are held back until the next group is being written; here that one never is."""
    faulty = FaultyOpener(tmp_path, [None, SystemExit("a fault of this program")])
    async with writing_with(faulty) as writer:
        replies = [writer.record(session(f"s{n}"), AT) for n in range(2 * MAX_GROUP)]
        answers = await asyncio.gather(*replies, return_exceptions=True)
    recorded = [outcome for outcome in answers if isinstance(outcome, Recorded)]
    assert recorded
    assert {type(outcome) for outcome in answers} == {Recorded, StorageDownError}
    assert len(query(tmp_path, "SELECT 1 FROM event")) == len(recorded)


async def test_directory_that_cannot_be_made_again_is_a_storage_error(tmp_path: Path) -> None:
    """It is not a bug: readyz answers 503, and captures are rejected."""
    async with writing(tmp_path / "state") as rig:
        await rig.writer.record(session("one"), AT)
        (tmp_path / "state").rename(tmp_path / "elsewhere")
        (tmp_path / "state").touch()
        with pytest.raises(StorageError):
            await rig.writer.check(5)


async def test_ping_of_a_blocked_writer_returns_only_when_it_goes_on(tmp_path: Path) -> None:
    async with writing(tmp_path) as rig:
        async with rig.held():
            ping = asyncio.create_task(rig.writer.ping())
            await next_iteration()
            assert not ping.done()
        assert await ping


async def test_writer_without_a_disk_answers_pings(tmp_path: Path) -> None:
    """A restart of the process would not bring the disk back."""
    (tmp_path / "file").touch()
    async with writing(tmp_path / "file" / "state") as rig:
        assert await rig.writer.ping()


async def test_ping_fails_when_the_queue_is_full(tmp_path: Path) -> None:
    async with writing(tmp_path, max_queued=1) as rig, rig.held():
        assert not await rig.writer.ping()


async def test_ping_fails_after_close(tmp_path: Path) -> None:
    async with writing(tmp_path) as rig:
        await rig.writer.close()
        assert not await rig.writer.ping()
