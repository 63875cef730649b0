"""The writer: many captures, one sync; each answered once on the disk, none hurt by another."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import pytest

from agent.facts import (
    Capture,
    Moment,
    NoOpenSession,
    Outcome,
    Receipt,
    Recorded,
    SessionStarted,
)
from agent.store.files.storage_errors import (
    StorageDamaged,
    StorageDown,
    StorageFull,
    StorageTrouble,
)
from agent.store.store import Store
from agent.store.writer import MAX_GROUP, Overloaded, Writer
from tests.agent.store.parts import AT, answer, opener, query, session

UNANSWERED_SECONDS = 30
POISON = SessionStarted("poison \ud800", None, closed=False, body=b"{}")


@dataclass
class Commits:
    """A commit watch that keeps what it is told."""

    groups: list[int] = field(default_factory=list)

    def committed(self, captures: int, seconds: float) -> None:
        """Note a commit."""
        assert seconds >= 0
        self.groups.append(captures)


@dataclass
class Rig:
    """A running writer on a real directory, with a gate that holds its thread."""

    writer: Writer
    commits: Commits
    directory: Path

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Keep the writer's thread busy until the block ends: what is recorded in it waits."""
        entered, free = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def hold(_store: Store) -> None:
            loop.call_soon_threadsafe(entered.set)
            assert free.wait(10)

        holding = asyncio.create_task(self.writer.run(hold))
        await entered.wait()
        try:
            yield
        finally:
            free.set()
        await holding


@asynccontextmanager
async def writing(directory: Path, *, max_waiting: int = 10_000) -> AsyncIterator[Rig]:
    """Run a writer on `directory` until the block ends."""
    commits = Commits()
    writer = Writer(opener(directory), commits, max_waiting=max_waiting)
    writer.start()
    try:
        async with asyncio.timeout(UNANSWERED_SECONDS):
            yield Rig(writer, commits, directory)
    finally:
        await writer.close()


async def next_turn() -> None:
    """Let the loop finish what it is at."""
    turn = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(turn.set_result, None)
    await turn


async def test_what_waits_goes_into_one_commit(tmp_path: Path) -> None:
    async with writing(tmp_path) as rig:
        async with rig.held():
            replies = [rig.writer.record(session(f"s{n}"), AT) for n in range(100)]
        outcomes = await asyncio.gather(*replies)
    assert rig.commits.groups == [100]
    assert outcomes == [Recorded(Receipt("epoch-1", n), repeated=False) for n in range(1, 101)]


async def test_a_group_has_a_bound_and_the_rest_forms_the_next_one(tmp_path: Path) -> None:
    size = MAX_GROUP // 2 + 1
    async with writing(tmp_path) as rig:
        replies = []
        async with rig.held():
            for turn in range(3):
                replies += [rig.writer.record(session(f"{turn}/{n}"), AT) for n in range(size)]
                await next_turn()
        await asyncio.gather(*replies)
    assert rig.commits.groups == [MAX_GROUP, 3 * size - MAX_GROUP]


async def test_a_lonely_capture_is_committed_at_once(tmp_path: Path) -> None:
    async with writing(tmp_path) as rig:
        await rig.writer.record(session("one"), AT)
        await rig.writer.record(session("two"), AT)
    assert rig.commits.groups == [1, 1]


async def test_an_answer_means_that_another_connection_can_read_it(tmp_path: Path) -> None:
    async with writing(tmp_path) as rig:
        await rig.writer.record(session("one"), AT)
        assert query(tmp_path, "SELECT correlation_id FROM session") == [("one",)]


async def test_a_refused_capture_does_not_hurt_its_neighbours(tmp_path: Path) -> None:
    async with writing(tmp_path) as rig:
        async with rig.held():
            replies = [
                rig.writer.record(capture, AT)
                for capture in (session("one"), answer("nobody"), session("two"))
            ]
        outcomes = await asyncio.gather(*replies)
    assert outcomes == [
        Recorded(Receipt("epoch-1", 1), repeated=False),
        NoOpenSession(),
        Recorded(Receipt("epoch-1", 2), repeated=False),
    ]
    assert rig.commits.groups == [3]


async def test_a_capture_that_breaks_the_journal_fails_alone(tmp_path: Path) -> None:
    """Half a surrogate pair cannot be written as UTF-8; nothing lets one in, and yet."""
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


async def test_at_the_bound_a_capture_is_turned_away_at_once(tmp_path: Path) -> None:
    """What the thread has in its hands waits as well."""
    async with writing(tmp_path, max_waiting=4) as rig:
        async with rig.held():
            replies = [rig.writer.record(session(f"s{n}"), AT) for n in range(3)]
            assert rig.writer.waiting == 4
            with pytest.raises(Overloaded):
                rig.writer.record(session("too many"), AT)
        await asyncio.gather(*replies)
        await rig.writer.record(session("later"), AT)
        assert rig.writer.waiting == 0
    assert len(query(tmp_path, "SELECT 1 FROM event")) == 4


async def test_closing_answers_all_that_was_taken(tmp_path: Path) -> None:
    async with writing(tmp_path) as rig:
        async with rig.held():
            replies = [rig.writer.record(session(f"s{n}"), AT) for n in range(2 * MAX_GROUP)]
            closing = asyncio.create_task(rig.writer.close())
            await asyncio.wait({closing}, timeout=0)
        await closing
        outcomes = await asyncio.gather(*replies)
    assert len(outcomes) == 2 * MAX_GROUP
    assert len(query(tmp_path, "SELECT 1 FROM event")) == 2 * MAX_GROUP


async def test_closing_twice_is_harmless_and_nothing_is_taken_afterwards(tmp_path: Path) -> None:
    async with writing(tmp_path) as rig:
        await asyncio.gather(rig.writer.close(), rig.writer.close())
        await rig.writer.close()
        with pytest.raises(StorageDown):
            rig.writer.record(session(), AT)
        with pytest.raises(StorageDown):
            await rig.writer.check(1)


async def test_a_request_given_up_leaves_its_capture_recorded(tmp_path: Path) -> None:
    async with writing(tmp_path) as rig:
        async with rig.held():
            given_up = rig.writer.record(session("one"), AT)
            kept = rig.writer.record(session("two"), AT)
            given_up.cancel()
        assert await kept == Recorded(Receipt("epoch-1", 2), repeated=False)
        repeated = await rig.writer.record(session("one"), AT)
    assert repeated == Recorded(Receipt("epoch-1", 1), repeated=True)


async def test_a_chore_runs_after_the_captures_before_it_and_returns_its_result(
    tmp_path: Path,
) -> None:
    async with writing(tmp_path) as rig:
        async with rig.held():
            recorded = rig.writer.record(session("one"), AT)
            chore = asyncio.create_task(rig.writer.run(lambda store: store.numbering.last.sequence))
            await asyncio.wait({chore}, timeout=0)
        await recorded
        assert await chore == 1


async def test_a_chore_that_raises_hurts_nobody_else(tmp_path: Path) -> None:
    def fail(_store: Store) -> NoReturn:
        raise ZeroDivisionError

    async with writing(tmp_path) as rig:
        with pytest.raises(ZeroDivisionError):
            await rig.writer.run(fail)
        await rig.writer.record(session(), AT)


async def test_a_thread_that_hangs_is_found_out(tmp_path: Path) -> None:
    async with writing(tmp_path) as rig:
        async with rig.held():
            with pytest.raises(StorageDown, match="in time"):
                await rig.writer.check(0.01)
        await rig.writer.check(5)


async def test_captures_asked_before_the_store_is_open_are_recorded(tmp_path: Path) -> None:
    writer = Writer(opener(tmp_path), Commits())
    writer.start()
    outcome = await writer.record(session(), AT)
    await writer.close()
    assert outcome == Recorded(Receipt("epoch-1", 1), repeated=False)


class BreakingOpener:
    """Opens real stores whose `record` raises, a time each, what the test wants."""

    def __init__(self, directory: Path, troubles: Sequence[BaseException | None]) -> None:
        self.opened = 0
        self.reasons: list[str] = []
        self.set_aside_error: OSError | None = None
        self._troubles = list(troubles)
        self._directory = directory

    def open(self) -> Store:
        """Open the store, broken as told."""
        self.opened += 1
        store = opener(self._directory).open()
        usual = store.record

        def record_or_raise(
            captures: Sequence[tuple[Capture, Moment]], meanwhile: Callable[[], None]
        ) -> list[Outcome]:
            if self._troubles and (trouble := self._troubles.pop(0)):
                raise trouble
            return usual(captures, meanwhile)

        store.record = record_or_raise  # type: ignore[method-assign, assignment] # the planted fault
        return store

    def set_aside(self, reason: str) -> None:
        """Note it, or fail as told."""
        self.reasons.append(reason)
        if self.set_aside_error:
            raise self.set_aside_error


@asynccontextmanager
async def writing_with(breaking: BreakingOpener) -> AsyncIterator[Writer]:
    """Run a writer on a breaking store."""
    writer = Writer(breaking, Commits(), reopen_seconds=0.01)
    writer.start()
    try:
        async with asyncio.timeout(UNANSWERED_SECONDS):
            yield writer
    finally:
        await writer.close()


async def test_a_store_that_failed_is_opened_again_and_the_till_never_notices(
    tmp_path: Path,
) -> None:
    breaking = BreakingOpener(tmp_path, [StorageDown("an I/O error")])
    async with writing_with(breaking) as writer:
        assert await writer.record(session(), AT) == Recorded(Receipt("epoch-1", 1), repeated=False)
    assert breaking.opened == 2


async def test_a_store_that_fails_twice_refuses_the_capture_and_goes_on(tmp_path: Path) -> None:
    breaking = BreakingOpener(tmp_path, [StorageDown("an I/O error"), StorageDown("and again")])
    async with writing_with(breaking) as writer:
        with pytest.raises(StorageDown):
            await writer.record(session(), AT)
        await writer.record(session(), AT)


async def test_a_damaged_store_is_set_aside_before_it_is_opened_again(tmp_path: Path) -> None:
    breaking = BreakingOpener(tmp_path, [StorageDamaged("zeros")])
    async with writing_with(breaking) as writer:
        await writer.record(session(), AT)
    assert breaking.reasons == ["zeros"]


async def test_a_full_disk_is_neither_reopened_nor_tried_again(tmp_path: Path) -> None:
    breaking = BreakingOpener(tmp_path, [StorageFull("no room")])
    async with writing_with(breaking) as writer:
        with pytest.raises(StorageFull):
            await writer.record(session(), AT)
        await writer.record(session(), AT)
    assert breaking.opened == 1


async def test_damage_that_cannot_be_set_aside_yet_does_not_end_the_writer(tmp_path: Path) -> None:
    """A full or read-only disk: the file stays where it is, tills get 503, it is tried again."""
    breaking = BreakingOpener(tmp_path, [StorageDamaged("zeros")] * 2)
    breaking.set_aside_error = OSError(28, "No space left on device")
    async with writing_with(breaking) as writer:
        with pytest.raises(StorageTrouble):
            await writer.record(session(), AT)
        assert not writer.died.done()
        breaking.set_aside_error = None
        await writer.record(session(), AT)


async def test_a_writer_that_dies_says_so_and_leaves_no_till_unanswered(tmp_path: Path) -> None:
    """Whoever was in its hands, whoever waited, and whoever comes later gets an answer."""
    breaking = BreakingOpener(tmp_path, [SystemExit("a fault of this program")])
    async with writing_with(breaking) as writer:
        replies = [writer.record(session(f"s{n}"), AT) for n in range(MAX_GROUP + 10)]
        answers = await asyncio.gather(*replies, return_exceptions=True)
        assert {type(answer) for answer in answers} == {StorageDown}
        await writer.died
        with pytest.raises(StorageDown):
            writer.record(session(), AT)


async def test_what_was_committed_before_the_writer_died_is_answered_as_recorded(
    tmp_path: Path,
) -> None:
    """Answers are held until the next group is on its way; here that one is the end."""
    breaking = BreakingOpener(tmp_path, [None, SystemExit("a fault of this program")])
    async with writing_with(breaking) as writer:
        replies = [writer.record(session(f"s{n}"), AT) for n in range(2 * MAX_GROUP)]
        answers = await asyncio.gather(*replies, return_exceptions=True)
    recorded = [outcome for outcome in answers if isinstance(outcome, Recorded)]
    assert recorded
    assert {type(outcome) for outcome in answers} == {Recorded, StorageDown}
    assert len(query(tmp_path, "SELECT 1 FROM event")) == len(recorded)


async def test_a_directory_that_went_away_is_trouble_with_the_storage(tmp_path: Path) -> None:
    """Not a fault of the program: readyz says 503, and captures are refused."""
    async with writing(tmp_path / "state") as rig:
        await rig.writer.record(session("one"), AT)
        (tmp_path / "state").rename(tmp_path / "elsewhere")
        with pytest.raises(StorageTrouble):
            await rig.writer.check(5)


async def test_a_writer_that_is_held_up_has_no_pulse_until_it_goes_on(tmp_path: Path) -> None:
    async with writing(tmp_path) as rig:
        async with rig.held():
            pulse = asyncio.create_task(rig.writer.pulse())
            await next_turn()
            assert not pulse.done()
        assert await pulse


async def test_a_writer_whose_disk_is_gone_has_a_pulse(tmp_path: Path) -> None:
    """A new start would not bring the disk back."""
    (tmp_path / "file").touch()
    async with writing(tmp_path / "file" / "state") as rig:
        assert await rig.writer.pulse()


async def test_a_writer_for_which_too_much_waits_has_no_pulse(tmp_path: Path) -> None:
    async with writing(tmp_path, max_waiting=1) as rig, rig.held():
        assert not await rig.writer.pulse()


async def test_a_writer_that_has_ended_has_no_pulse(tmp_path: Path) -> None:
    async with writing(tmp_path) as rig:
        await rig.writer.close()
        assert not await rig.writer.pulse()
