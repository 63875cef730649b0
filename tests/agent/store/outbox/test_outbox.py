"""The outbox: windows in order, durable delivery results, rewind and renumbering."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from agent.facts import EmailStatus
from agent.store.files.storage_errors import StorageDownError
from agent.store.outbox.outbox import MAX_RESULTS_IN_A_TRANSACTION
from agent.store.outbox.rewind import MAX_EPOCHS_A_DAY
from agent.store.queries.reader import StoreReader
from agent.store.store import Store
from sync.delivery.outbox import BatchLimits, EventResult, OutboxUnavailable
from sync.protocol.wire import RENUMBERED, EventType
from tests.support.agent.outbox import (
    DELIVERED,
    PLENTY,
    REFUSED,
    OutboxRig,
    judged,
    outbox_on,
)
from tests.support.agent.store import ADDRESS, AT, EpochIds, answer, change, query, session

Work = Callable[[Store], object]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[OutboxRig]:
    """Run an outbox with session one (1), its answer (2), sessions two (3) and three (4)."""
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one", locale="en-CA"), answer("one"))
        await rig.capture(session("two"), session("three"))
        yield rig


def cursor_of(rig: OutboxRig) -> tuple[object, list[object]]:
    """Return the watermark, and the positions settled ahead of it."""
    watermark = query(rig.directory, "SELECT watermark FROM destination")
    settled = query(rig.directory, "SELECT position FROM settled ORDER BY position")
    return watermark[0][0] if watermark else 0, [row[0] for row in settled]


def fail_after_one(run: Callable[[Work], Awaitable[object]]) -> Callable[[Work], Awaitable[object]]:
    """Let `run` work once; every later call fails like the storage."""
    runs = [run]

    async def run_or_fail(work: Work) -> object:
        if not runs:
            raise StorageDownError("the disk is gone")
        return await runs.pop()(work)

    return run_or_fail


async def test_empty_outbox_yields_an_empty_window(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await rig.capture()
        await rig.writer.check(10)
        window = await rig.outbox.next_window(PLENTY)
        assert (window.epoch, window.events) == ("epoch-1", ())
        assert not (await rig.outbox.next_retry_window(PLENTY)).events


async def test_event_has_all_captured_values(rig: OutboxRig) -> None:
    window = await rig.window()
    started, answered = window.events[:2]
    assert (window.epoch, window.base_sequence) == ("epoch-1", 1)
    assert (started.position, started.sequence, started.type) == (1, 1, EventType.SESSION_STARTED)
    assert (started.session, started.correlation_id, started.query_locale) == (1, "one", "en-CA")
    assert started.body == b'{"correlationId":"one"}'
    assert (started.occurred_at_us, started.monotonic_us) == (AT.wall_us, AT.monotonic_us)
    assert started.boot_id == "boot-1"
    assert (answered.position, answered.session, answered.query_locale) == (2, 1, None)
    assert (answered.type, answered.correlation_id) == (EventType.EMAIL_ANSWERED, "one")
    assert not any(e.is_doubtful or e.is_erased or e.session_refused for e in window.events)


async def test_address_is_restored_as_the_first_member_of_an_answer(rig: OutboxRig) -> None:
    event = (await rig.window()).events[1]
    assert event.body == b'{"emailAddress":"%b","status":"accepted"}' % ADDRESS.encode()


async def test_answer_without_address_is_sent_unchanged(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"), answer("one", status=EmailStatus.DECLINED))
        event = (await rig.window()).events[1]
        assert (event.body, event.is_erased) == (b'{"status":"declined"}', False)


async def test_window_holds_at_most_the_requested_bytes_but_at_least_one_event(
    rig: OutboxRig,
) -> None:
    sizes = [len(event.body) for event in (await rig.window()).events]
    for bytes_, count in ((1, 1), (sizes[0] + sizes[1], 2), (sum(sizes) - 1, 3), (sum(sizes), 4)):
        assert len((await rig.outbox.next_window(BatchLimits(10, bytes_))).events) == count


async def test_contiguous_deliveries_only_advance_the_watermark(rig: OutboxRig) -> None:
    await rig.deliver(*(await rig.window(events=3)).events)
    assert cursor_of(rig) == (3, [])
    assert await rig.positions() == [4]


async def test_event_delivered_ahead_is_not_pending_and_is_merged_into_the_watermark_later(
    rig: OutboxRig,
) -> None:
    one, two, three, four = (await rig.window()).events
    await rig.deliver(four, two)
    assert cursor_of(rig) == (0, [2, 4])
    assert await rig.positions() == [1, 3]
    await rig.deliver(one)
    assert cursor_of(rig) == (2, [4])
    await rig.deliver(three)
    assert cursor_of(rig) == (4, [])


async def test_rejected_event_becomes_a_dead_letter_and_the_watermark_passes_it(
    rig: OutboxRig,
) -> None:
    window = await rig.window()
    one, two, *_ = window.events
    await rig.outbox.settle(window, [EventResult(one, DELIVERED), EventResult(two, REFUSED)])
    assert cursor_of(rig) == (2, [])
    assert await rig.positions() == [3, 4]
    said = "SELECT position, error_code, error_message, http_status FROM dead_letter"
    assert query(rig.directory, said) == [(2, "CODE", "a reason", 400)]
    noted = "SELECT refused_at_us, attempts, agent_version FROM dead_letter"
    assert query(rig.directory, noted) == [(AT.wall_us, 1, "1.0")]


async def test_answer_of_a_rejected_session_says_so(rig: OutboxRig) -> None:
    await rig.refuse((await rig.window()).events[0])
    refused = {e.position: e.session_refused for e in (await rig.window()).events}
    assert refused == {2: True, 3: False, 4: False}


async def test_settle_is_idempotent(rig: OutboxRig) -> None:
    """A pass that lost the disk's reply to its settle repeats it."""
    events = (await rig.window(events=2)).events
    await rig.deliver(*events)
    await rig.deliver(*events)
    assert cursor_of(rig) == (2, [])
    assert len(query(rig.directory, "SELECT * FROM delivery")) == 1


async def test_acknowledgements_within_a_second_share_a_row(rig: OutboxRig) -> None:
    for _ in range(2):
        await rig.deliver((await rig.window(events=1)).events[0])
    rig.clock.pass_seconds(2)
    await rig.deliver(*(await rig.window()).events)
    deliveries = query(rig.directory, "SELECT through_position, delivered_at_us FROM delivery")
    assert deliveries == [(2, AT.wall_us), (4, AT.wall_us + 2_000_000)]


async def test_window_ends_at_the_end_of_its_epoch(tmp_path: Path) -> None:
    epochs = EpochIds()
    async with outbox_on(tmp_path, epochs=epochs) as rig:
        await rig.capture(session("one"), session("two"))
        await rig.outbox.renumber("epoch-1", 1)
        await rig.capture(session("three"))
        window = await rig.window()
        assert (window.epoch, [e.sequence for e in window.events]) == ("epoch-1", [1])
        window = await rig.window(after=1)
        assert (window.epoch, [e.sequence for e in window.events]) == ("epoch-2", [1, 2])


async def test_interrupted_attempt_leaves_its_events_in_doubt(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await rig.capture(*(session(f"s{n}") for n in range(1, 6)))
        await rig.deliver((await rig.window()).events[2])
        await rig.outbox.record_attempt(await rig.window(events=3))
    async with outbox_on(tmp_path) as rig:
        doubt = {e.position: e.is_doubtful for e in (await rig.window()).events}
        assert doubt == {1: True, 2: True, 4: True, 5: False}


async def test_doubt_remains_until_each_event_has_a_verdict(
    tmp_path: Path,
) -> None:
    """After a crash a single probe goes first; its verdict says nothing about the others."""
    async with outbox_on(tmp_path) as rig:
        await rig.capture(*(session(f"s{n}") for n in range(1, 5)))
        await rig.outbox.record_attempt(await rig.window(events=3))
    async with outbox_on(tmp_path) as rig:
        probe = await rig.window(events=1)
        await rig.outbox.record_attempt(probe)
        await rig.deliver(*probe.events)
    async with outbox_on(tmp_path) as rig:
        doubt = {e.position: e.is_doubtful for e in (await rig.window()).events}
        assert doubt == {2: True, 3: True, 4: False}
        assert query(tmp_path, "SELECT position FROM doubt") == [(2,), (3,)]


async def test_settle_interrupted_between_transactions_keeps_the_doubt_of_rejected_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The window needs more than one transaction; the storage fails between two of them."""
    async with outbox_on(tmp_path) as rig:
        await rig.capture(*(session(f"s{n}") for n in range(MAX_RESULTS_IN_A_TRANSACTION + 1)))
        window = await rig.window()
        await rig.outbox.record_attempt(window)
        refused, *delivered = window.events
        monkeypatch.setattr(rig.writer, "run", fail_after_one(rig.writer.run))
        with pytest.raises(OutboxUnavailable):
            await rig.outbox.settle(
                window, [EventResult(refused, REFUSED), *judged(delivered)], [refused]
            )
    async with outbox_on(tmp_path) as rig:
        await rig.outbox.dead_letters.retry(window.epoch, refused.sequence)
        again = await rig.outbox.next_retry_window(PLENTY)
        assert [(e.position, e.is_doubtful) for e in again.events] == [(1, True)]


async def test_rewind_makes_all_later_events_pending_again(rig: OutboxRig) -> None:
    await rig.deliver_all()
    assert await rig.outbox.rewind("epoch-1", 3)
    assert await rig.positions() == [3, 4]
    assert cursor_of(rig) == (2, [])
    assert query(rig.directory, "SELECT through_position FROM delivery") == [(2,)]


async def test_rewind_unsettles_events_settled_ahead(rig: OutboxRig) -> None:
    await rig.deliver((await rig.window()).events[2])
    assert await rig.outbox.rewind("epoch-1", 1)
    assert await rig.positions() == [1, 2, 3, 4]


@pytest.mark.parametrize(("epoch", "expected"), [("unknown", 1), ("epoch-1", 5), ("epoch-1", 9)])
async def test_rewind_to_an_unknown_number_changes_nothing(
    rig: OutboxRig, epoch: str, expected: int
) -> None:
    await rig.deliver(*(await rig.window(events=2)).events)
    assert not await rig.outbox.rewind(epoch, expected)
    assert cursor_of(rig) == (2, [])


async def test_renumber_moves_the_following_events_into_a_new_epoch(rig: OutboxRig) -> None:
    await rig.deliver(*(await rig.window(events=2)).events)
    await rig.outbox.renumber("epoch-1", 2)
    window = await rig.window()
    assert (window.epoch, [e.sequence for e in window.events]) == ("epoch-2", [1, 2])
    assert await rig.capture(session("four"), session("two")) == ["epoch-2/3", "epoch-2/1"]


async def test_renumber_at_the_end_of_the_epoch_starts_a_new_one_for_new_captures(
    rig: OutboxRig,
) -> None:
    await rig.outbox.renumber("epoch-1", 9)
    assert await rig.capture(session("four")) == ["epoch-2/1"]


async def test_head_office_that_disputes_every_number_causes_few_epochs_a_day(
    rig: OutboxRig,
) -> None:
    """Each epoch costs both ends a row for ever; the events wait, and nothing is lost."""
    for day in range(2):
        for _ in range(3 * MAX_EPOCHS_A_DAY):
            epoch = (await rig.window()).epoch
            await rig.outbox.renumber(epoch, 0)
        epochs = query(rig.directory, "SELECT epoch FROM epoch")
        assert len(epochs) == 1 + (day + 1) * MAX_EPOCHS_A_DAY
        rig.clock.pass_seconds(25 * 3600)
    assert await rig.positions() == [1, 2, 3, 4]


async def test_renumber_of_an_older_epoch_keeps_the_later_epochs(rig: OutboxRig) -> None:
    await rig.outbox.renumber("epoch-1", 3)
    await rig.capture(session("four"))
    await rig.outbox.renumber("epoch-1", 1)
    windows = [await rig.window(after=after) for after in (0, 1, 3)]
    assert [(w.epoch, [e.sequence for e in w.events]) for w in windows] == [
        ("epoch-1", [1]),
        ("epoch-3", [1, 2]),
        ("epoch-2", [1, 2]),
    ]
    assert await rig.capture(session("five")) == ["epoch-2/3"]


async def test_renumbering_remembers_the_numbers_that_are_others_now(rig: OutboxRig) -> None:
    """Head office knows of four events under the old numbers: they must not look missing."""
    await rig.outbox.renumber("epoch-1", 3)
    await rig.outbox.renumber("epoch-1", 1)

    epochs = StoreReader(rig.directory).status().epochs

    assert [(one.epoch, one.last_sequence, one.moved_through) for one in epochs] == [
        ("epoch-1", 1, 4),
        ("epoch-3", 2, 3),
        ("epoch-2", 1, 0),
    ]
    assert [one.ended_reason for one in epochs] == [RENUMBERED, RENUMBERED, ""]


async def test_renumbering_by_an_earlier_version_does_not_say_how_the_epoch_ended(
    rig: OutboxRig,
) -> None:
    """Nobody knows how many of the numbers above its end were moved, and how many are lost."""
    await rig.outbox.renumber("epoch-1", 3)
    change(rig.directory, "UPDATE epoch SET moved_events = NULL")

    first, _ = StoreReader(rig.directory).status().epochs

    assert (first.last_sequence, first.ended_reason, first.moved_through) == (3, "", 0)


async def test_window_says_where_an_ended_epoch_ends(rig: OutboxRig) -> None:
    await rig.outbox.renumber("epoch-1", 3)

    windows = [await rig.window(after=after) for after in (0, 3)]

    assert [window.ended_at for window in windows] == [3, None]


async def test_renumbered_file_continues_its_epoch_after_a_restart(tmp_path: Path) -> None:
    epochs = EpochIds()
    async with outbox_on(tmp_path, epochs=epochs) as rig:
        await rig.capture(session("one"), session("two"))
        await rig.outbox.renumber("epoch-1", 1)
    async with outbox_on(tmp_path, epochs=epochs) as rig:
        assert await rig.capture(session("three")) == ["epoch-2/2"]
