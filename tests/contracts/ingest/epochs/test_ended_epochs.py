"""Ended epochs: an epoch without the last word of its machine is not called complete."""

from datetime import timedelta

from sync.protocol.wire import RENUMBERED
from sync.receiver.db.tables import GapRecord
from sync.receiver.reports.completeness.audit import audit
from sync.receiver.reports.completeness.state import EpochCompleteness, Range
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import SimulatedAgent, session, sessions, wire_time

OLD = SimulatedAgent(epoch="epoch-of-the-old-machine")
NEW = SimulatedAgent(epoch="epoch-of-the-new-machine")


async def audited(office: LedgerDriver) -> dict[str, EpochCompleteness]:
    return {one.epoch: one async for one in audit(office.database, None)}


async def is_complete(office: LedgerDriver) -> bool:
    return all(one.is_complete for one in (await audited(office)).values())


async def gaps(office: LedgerDriver) -> list[tuple[object, ...]]:
    return await office.rows(GapRecord, "epoch", "first_sequence", "last_sequence")


def ended(
    epoch: str, last: int, reason: str = "commits lost", **members: object
) -> dict[str, object]:
    return {"epoch": epoch, "lastSequence": last, "endedReason": reason} | members


async def replaced_machine(office: LedgerDriver, **members: object) -> None:
    """Three captures of a machine arrive, then another machine takes its place."""
    await office.take(OLD, *sessions(1, 3))
    heard = {"lastSequence": 3, "watermark": 3, "lastActivityAt": wire_time(-60)}
    await office.heartbeat(OLD, **(heard | members))
    office.at += timedelta(minutes=10)
    await office.heartbeat(NEW)


async def test_epoch_of_a_machine_that_was_replaced_is_not_confirmed(office: LedgerDriver) -> None:
    """Two captures were acknowledged to tills and died with it: nobody told head office."""
    await replaced_machine(office)

    old = (await audited(office))[OLD.epoch]
    assert old.outstanding == old.missing == old.gaps == []
    assert not old.is_complete
    assert old.unconfirmed is not None
    assert old.unconfirmed.captures == 3
    assert old.unconfirmed.last_word_at == "2026-03-04T05:06:07.000Z"


async def test_replacement_noticed_by_its_first_batch_leaves_the_epoch_unconfirmed(
    office: LedgerDriver,
) -> None:
    await office.take(OLD, *sessions(1, 3))

    await office.take(NEW, session(1, "another"))

    assert not await is_complete(office)


async def test_current_epoch_needs_no_confirmation(office: LedgerDriver) -> None:
    await office.take(OLD, *sessions(1, 3))
    await office.heartbeat(OLD, lastSequence=3)

    assert await is_complete(office)


async def test_heartbeat_of_the_next_epoch_confirms_the_one_before(office: LedgerDriver) -> None:
    await replaced_machine(office)

    await office.heartbeat(NEW, epochs=[ended(OLD.epoch, 3)])

    assert await is_complete(office)


async def test_heartbeat_of_an_agent_of_before_confirms_by_naming(office: LedgerDriver) -> None:
    await replaced_machine(office)

    await office.heartbeat(NEW, epochs=[{"epoch": OLD.epoch, "lastSequence": 3}])

    assert await is_complete(office)


async def test_machine_that_cannot_say_yet_where_its_epoch_ended_confirms_nothing(
    office: LedgerDriver,
) -> None:
    """It knows of a loss, and asks first which of the numbers head office has."""
    await replaced_machine(office)
    await office.heartbeat(NEW, epochs=[ended(OLD.epoch, 3)])

    named = {"epoch": OLD.epoch, "lastSequence": 3, "endUnknown": True}
    await office.heartbeat(NEW, epochs=[named])

    assert not await is_complete(office)


async def test_batch_that_ends_its_epoch_confirms_it(office: LedgerDriver) -> None:
    await replaced_machine(office)

    await office.take(OLD, session(4), endsEpoch=True)

    assert await is_complete(office)


async def test_batch_of_a_copy_that_ends_the_epoch_below_what_is_known_confirms_nothing(
    office: LedgerDriver,
) -> None:
    await replaced_machine(office, lastSequence=5)

    await office.take(OLD, session(3), endsEpoch=True)

    old = (await audited(office))[OLD.epoch]
    assert (old.unconfirmed is not None, old.outstanding) == (True, [Range(4, 5)])


async def test_batch_beyond_the_last_word_of_its_machine_takes_that_word_back(
    office: LedgerDriver,
) -> None:
    await replaced_machine(office)
    await office.heartbeat(NEW, epochs=[ended(OLD.epoch, 3)])

    await office.take(OLD, session(4))

    assert not await is_complete(office)


async def test_word_of_a_file_that_knows_less_than_head_office_confirms_nothing(
    office: LedgerDriver,
) -> None:
    """An image of the disk was put back: it cannot know how far the machine got since."""
    await replaced_machine(office)

    await office.heartbeat(NEW, epochs=[ended(OLD.epoch, 2)])

    old = (await audited(office))[OLD.epoch]
    assert (old.unconfirmed is not None, old.gaps) == (True, [])


async def test_word_about_an_epoch_that_another_machine_still_uses_confirms_nothing(
    office: LedgerDriver,
) -> None:
    """A clone began an epoch of its own; the first machine went on, and died with captures."""
    await replaced_machine(office)
    office.at += timedelta(minutes=10)
    await office.heartbeat(OLD, lastSequence=3, lastActivityAt=wire_time(-1))
    office.at += timedelta(minutes=1)

    await office.heartbeat(NEW, epochs=[ended(OLD.epoch, 3)])

    assert not await is_complete(office)


async def test_word_about_an_epoch_confirms_nothing_while_two_machines_share_the_name(
    office: LedgerDriver,
) -> None:
    """A disk was cloned: each machine knows only its own events of the epoch."""
    await office.take(OLD, *sessions(1, 3))
    for number in range(8):
        office.at += timedelta(seconds=10)
        machine = {"bootId": f"boot-{number % 2}", "sentMonotonicUs": 10_000_000 * (number + 1)}
        await office.heartbeat((OLD, NEW)[number % 2], lastSequence=3 * (1 - number % 2), **machine)
    office.at += timedelta(seconds=10)

    last = {"bootId": "boot-1", "sentMonotonicUs": 90_000_000}
    await office.heartbeat(NEW, epochs=[ended(OLD.epoch, 3)], **last)

    assert not await is_complete(office)


async def test_word_about_an_epoch_that_another_machine_still_uses_calls_nothing_lost(
    office: LedgerDriver,
) -> None:
    """The first machine has a backlog, of which its clone knows nothing."""
    await replaced_machine(office)
    office.at += timedelta(minutes=10)
    await office.heartbeat(OLD, lastSequence=9, outstanding=6, lastActivityAt=wire_time(-1))
    office.at += timedelta(minutes=1)

    await office.heartbeat(NEW, epochs=[ended(OLD.epoch, 2, RENUMBERED, movedThrough=3)])

    assert await gaps(office) == []
    assert (await audited(office))[OLD.epoch].outstanding == [Range(4, 9)]


async def test_epoch_named_before_it_was_known_is_confirmed_once_all_has_arrived(
    office: LedgerDriver,
) -> None:
    """Head office was restored to a time before that epoch; the machine has all of it."""
    await office.heartbeat(NEW, epochs=[ended(OLD.epoch, 3)])
    before = (await audited(office))[OLD.epoch]

    await office.take(OLD, *sessions(1, 3))

    assert before.outstanding == [Range(1, 3)]
    assert await is_complete(office)


async def test_machine_that_comes_back_confirms_itself(office: LedgerDriver) -> None:
    """Its disk was found: the queue arrives while tills capture on the replacement."""
    await replaced_machine(office)
    heard = {"sentAt": wire_time(1200), "lastActivityAt": wire_time(100)}
    office.at += timedelta(minutes=10)
    await office.heartbeat(OLD, lastSequence=5, outstanding=2, **heard)
    await office.take(OLD, *sessions(4, 5))
    await office.heartbeat(OLD, lastSequence=5, **heard)

    used = {"sentAt": wire_time(1200), "lastActivityAt": wire_time(1100)}
    await office.heartbeat(NEW, **used)

    assert await is_complete(office)


async def test_machine_that_comes_back_and_is_used_again_confirms_nothing(
    office: LedgerDriver,
) -> None:
    """Two machines under one name, both in use: what one of them holds is known by it alone."""
    await replaced_machine(office)
    office.at += timedelta(minutes=10)
    await office.heartbeat(
        OLD, lastSequence=3, sentAt=wire_time(1200), lastActivityAt=wire_time(1190)
    )

    await office.heartbeat(NEW, sentAt=wire_time(1200), lastActivityAt=wire_time(1199))

    assert not await is_complete(office)


async def test_machine_that_comes_back_with_events_to_deliver_confirms_nothing(
    office: LedgerDriver,
) -> None:
    await replaced_machine(office)
    office.at += timedelta(minutes=10)
    heard = {"sentAt": wire_time(1200), "lastActivityAt": wire_time(100)}
    await office.heartbeat(OLD, lastSequence=3, outstanding=2, **heard)

    await office.heartbeat(NEW, sentAt=wire_time(1200), lastActivityAt=wire_time(1199))

    assert not await is_complete(office)


async def test_replaced_machine_that_had_come_back_before_is_not_confirmed_by_that(
    office: LedgerDriver,
) -> None:
    """The old machine went into service again, and died; a third one took its place."""
    await replaced_machine(office)
    office.at += timedelta(minutes=10)
    await office.heartbeat(
        OLD, lastSequence=3, sentAt=wire_time(1200), lastActivityAt=wire_time(-60)
    )

    await office.heartbeat(SimulatedAgent(epoch="epoch-of-a-third-machine"))

    unconfirmed = [one.epoch for one in (await audited(office)).values() if one.unconfirmed]
    assert unconfirmed == [NEW.epoch, OLD.epoch]


async def test_nothing_is_outstanding_after_a_renumbering(office: LedgerDriver) -> None:
    """Four events of the old epoch, not accepted under their numbers, have new ones."""
    await office.take(OLD, *sessions(1, 3))
    await office.heartbeat(OLD, lastSequence=7)

    await office.heartbeat(
        NEW, lastSequence=4, epochs=[ended(OLD.epoch, 3, RENUMBERED, movedThrough=7)]
    )
    await office.take(NEW, *(session(number, f"moved-{number}") for number in range(1, 5)))

    old = (await audited(office))[OLD.epoch]
    assert (old.outstanding, old.gaps, old.missing) == ([], [], [])


async def test_renumbered_epoch_is_not_confirmed(office: LedgerDriver) -> None:
    """Another copy of the file has used its numbers: nobody knows how far that one got."""
    await office.take(OLD, *sessions(1, 3))
    await office.heartbeat(OLD, lastSequence=5)

    await office.heartbeat(NEW, epochs=[ended(OLD.epoch, 2, RENUMBERED, movedThrough=5)])

    assert (await audited(office))[OLD.epoch].unconfirmed is not None


async def test_numbers_that_the_machine_does_not_hold_any_more_are_lost_for_good(
    office: LedgerDriver,
) -> None:
    """Its mark knows 9 commits; the file that was put back ends at 5."""
    await office.take(OLD, *sessions(1, 3))
    word = [ended(OLD.epoch, 5, lostThrough=9)]

    await office.heartbeat(NEW, epochs=word)
    before = (await audited(office))[OLD.epoch]
    await office.take(OLD, *sessions(4, 5))
    for _ in range(2):
        await office.heartbeat(NEW, epochs=word)

    assert before.outstanding == [Range(4, 9)]
    after = (await audited(office))[OLD.epoch]
    assert (after.outstanding, after.gaps, after.unconfirmed) == ([], [Range(6, 9)], None)
    assert await office.rows(GapRecord, "reason") == [("gone for good: commits lost",)]


async def test_numbers_of_a_file_that_was_set_aside_are_lost_for_good(office: LedgerDriver) -> None:
    await office.take(OLD, *sessions(1, 3))

    await office.heartbeat(NEW, epochs=[ended(OLD.epoch, 0, "new file", lostThrough=5)])

    old = (await audited(office))[OLD.epoch]
    assert (old.gaps, old.unconfirmed) == ([Range(4, 5)], None)


async def test_epoch_of_a_file_that_was_set_aside_is_confirmed_once_all_of_it_is_salvaged(
    office: LedgerDriver,
) -> None:
    await office.take(OLD, *sessions(1, 3))
    await office.heartbeat(OLD, lastSequence=5)

    await office.heartbeat(NEW, epochs=[ended(OLD.epoch, 0, "new file", movedThrough=5)])

    assert await is_complete(office)


async def test_numbers_that_head_office_knows_and_the_mark_does_not_are_lost_and_unconfirmed(
    office: LedgerDriver,
) -> None:
    """The mark is synced every few seconds: after a power cut it lags behind."""
    await office.take(OLD, *sessions(1, 3))
    await office.heartbeat(OLD, lastSequence=6)

    await office.heartbeat(NEW, epochs=[ended(OLD.epoch, 3, lostThrough=5)])

    old = (await audited(office))[OLD.epoch]
    assert (old.gaps, old.unconfirmed is not None) == ([Range(4, 6)], True)


async def test_events_with_new_numbers_are_not_among_the_lost_ones(office: LedgerDriver) -> None:
    """Of an epoch whose file lost 6 to 9, events 3 to 5 are renumbered later."""
    await office.take(OLD, *sessions(1, 2))
    word = ended(OLD.epoch, 2, RENUMBERED, movedThrough=5, lostThrough=9)

    for _ in range(2):
        await office.heartbeat(NEW, epochs=[word])

    old = (await audited(office))[OLD.epoch]
    assert (old.gaps, old.outstanding, old.missing) == ([Range(6, 9)], [], [])
    assert [(one.first, one.last) for one in old.acknowledged_gaps] == [(3, 5)]


async def test_lost_numbers_that_arrive_after_all_are_stored(office: LedgerDriver) -> None:
    await office.take(OLD, *sessions(1, 3))
    await office.heartbeat(NEW, epochs=[ended(OLD.epoch, 3, lostThrough=5)])

    await office.take(OLD, *sessions(4, 5))

    assert await is_complete(office)


async def test_false_machine_cannot_declare_a_million_numbers_lost(office: LedgerDriver) -> None:
    await office.take(OLD, *sessions(1, 3))

    await office.heartbeat(NEW, epochs=[ended(OLD.epoch, 3, lostThrough=2**62)])

    old = (await audited(office))[OLD.epoch]
    assert sum(one.last - one.first + 1 for one in old.gaps) <= 10_000
    assert old.unconfirmed is not None


async def test_false_machine_cannot_declare_a_million_numbers_moved(office: LedgerDriver) -> None:
    await office.take(OLD, *sessions(1, 3))

    await office.heartbeat(NEW, epochs=[ended(OLD.epoch, 3, movedThrough=2**62, lostThrough=2**62)])

    assert (await audited(office))[OLD.epoch].unconfirmed is not None


async def test_agent_whose_file_stepped_back_is_told_of_the_numbers_that_it_had(
    office: LedgerDriver,
) -> None:
    """So it begins a new epoch, before it uses a number again that no batch brought."""
    await office.take(OLD, *sessions(1, 3))
    await office.heartbeat(OLD, lastSequence=9)

    assert await office.heartbeat(OLD, lastSequence=3) == {OLD.epoch: 9}
    assert (await audited(office))[OLD.epoch].outstanding == [Range(4, 9)]
