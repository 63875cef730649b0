"""Faults that were mended, to be planted again: the model must find each of them."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeAlias

import msgspec
import pytest
import sqlalchemy as sa
from sqlmodel import Session

from agent.store.db.lost_captures import LostCaptures
from agent.store.journal.journal import Group, Journal
from agent.store.learned_terms import LearnedTerms, read_terms
from agent.store.outbox import rewind
from agent.store.queries import status
from agent.uplink import terms_sync
from agent.uplink.shared_name import SharedName
from sync.delivery.transports.batch import batch_transport
from sync.receiver.ingest import accept, agent_transaction, events
from sync.receiver.ingest.deduplication.purged import PurgedNumbers
from sync.receiver.ingest.deduplication.sessions import KnownSessions
from sync.receiver.ingest.epochs import extents
from sync.receiver.ingest.epochs.shared_name import NameUse, Speaker
from sync.receiver.ingest.events import Event, SessionEvent
from sync.receiver.ingest.times.clock_skew import BootClock
from sync.receiver.reports.completeness import audit as completeness_audit
from sync.runtime.retention_clock import RetentionClock

Plant: TypeAlias = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault, and the history (of `found.py`) in which it shows."""

    plant: Plant
    history: str


@contextmanager
def planted(fault: Fault) -> Iterator[None]:
    """Plant a fault until the block ends."""
    with pytest.MonkeyPatch.context() as patch:
        fault.plant(patch)
        yield


def _purged_number_is_a_repeat(patch: pytest.MonkeyPatch) -> None:
    def recognises(_numbers: PurgedNumbers, _event: Event) -> bool:
        return True

    patch.setattr(PurgedNumbers, "recognises", recognises)


def _number_in_a_purged_gap_is_a_repeat(patch: pytest.MonkeyPatch) -> None:
    decide = accept._BatchDecision.add  # noqa: SLF001 - the planted fault needs it

    def add(decision: accept._BatchDecision, event: Event) -> None:
        state = decision._state  # noqa: SLF001 - see above
        is_stored = event.sequence in state.stored or event.sequence in state.rejected
        if is_stored or event.sequence > state.purged.through:
            decide(decision, event)

    patch.setattr(accept._BatchDecision, "add", add)  # noqa: SLF001 - see above


def _same_session_at_another_time_is_another(patch: pytest.MonkeyPatch) -> None:
    def is_own(_sessions: KnownSessions, _session: SessionEvent) -> bool:
        return False

    patch.setattr(KnownSessions, "_is_own", is_own)


def _ended_epoch_counts_as_complete(patch: pytest.MonkeyPatch) -> None:
    def end(_row: sa.Row[tuple[object, ...]]) -> None:
        return None

    patch.setattr(completeness_audit, "epoch_end", end)


def _agent_tells_of_no_loss(patch: pytest.MonkeyPatch) -> None:
    def read(_connection: sqlite3.Connection, _directory: Path) -> list[LostCaptures]:
        return []

    patch.setattr(status, "read_lost_captures", read)


def _second_machine_is_not_noticed(patch: pytest.MonkeyPatch) -> None:
    noted = NameUse.after

    def after(use: NameUse, speaker: Speaker, now: datetime, **_is_return: bool) -> NameUse:
        return noted(use, speaker, now, is_return=False)

    patch.setattr(NameUse, "after", after)


def _agent_does_not_hear_of_the_other_machine(patch: pytest.MonkeyPatch) -> None:
    async def on_answer(_name: SharedName, *, is_shared: bool) -> None: ...

    patch.setattr(SharedName, "on_answer", on_answer)


def _head_office_reads_each_of_duplicate_members(patch: pytest.MonkeyPatch) -> None:
    def read(_body: bytes) -> object:
        raise msgspec.ValidationError("planted")

    patch.setattr(events, "read_object", read)


def _etag_of_misread_terms_is_sent(patch: pytest.MonkeyPatch) -> None:
    def read(session: Session) -> list[LearnedTerms]:
        return [replace(one, agent_version="1.0") for one in read_terms(session)]

    patch.setattr(terms_sync, "read_terms", read)


def _newest_measurement_of_a_boot_counts(patch: pytest.MonkeyPatch) -> None:
    def with_measurement(
        _clock: BootClock, zero_at: datetime, now: datetime, _round_trip: timedelta | None = None
    ) -> BootClock:
        return BootClock(zero_at, now, is_confirmed=True)

    patch.setattr(BootClock, "with_measurement", with_measurement)


def _retention_follows_the_wall_clock(patch: pytest.MonkeyPatch) -> None:
    async def wall_us(clock: RetentionClock) -> int:
        return clock._clocks()[0]  # noqa: SLF001 - the planted fault needs it

    patch.setattr(RetentionClock, "__call__", wall_us)


def _failed_commit_is_decided_again(patch: pytest.MonkeyPatch) -> None:
    def holds(_journal: Journal, _group: Group) -> bool:
        return False

    patch.setattr(Journal, "holds", holds)


def _emptied_head_office_lacks_what_is_among_purged_events(patch: pytest.MonkeyPatch) -> None:
    def retry(*_arguments: object) -> bool:
        return False

    patch.setattr(rewind, "_retry_left", retry)


def _numbers_above_the_end_of_an_epoch_stay_outstanding(patch: pytest.MonkeyPatch) -> None:
    def end(*_arguments: object) -> None: ...

    patch.setattr(extents, "_end", end)


def _last_heartbeat_to_arrive_counts(patch: pytest.MonkeyPatch) -> None:
    def is_overtaken(*_arguments: object) -> bool:
        return False

    patch.setattr(agent_transaction, "is_overtaken", is_overtaken)


def _one_event_denied_holds_the_others(patch: pytest.MonkeyPatch) -> None:
    def is_never(_failure: object) -> bool:
        return False

    patch.setattr(batch_transport, "may_be_about_an_event", is_never)


FAULTS: Mapping[str, Fault] = {
    "one capture that a firewall denies holds the others": Fault(
        _one_event_denied_holds_the_others, "firewall_denies_one_capture"
    ),
    "A1 a number that was purged is taken for a repeat": Fault(
        _purged_number_is_a_repeat, "numbers_that_were_purged_are_used_again_by_an_image"
    ),
    "A2 a number in a gap that retention walked over is taken for a repeat": Fault(
        _number_in_a_purged_gap_is_a_repeat,
        "refused_event_in_a_gap_that_retention_walked_over_arrives_late",
    ),
    "A3 a session repeated to an agent that forgot it is refused": Fault(
        _same_session_at_another_time_is_another, "session_is_repeated_to_an_agent_that_purged_it"
    ),
    "A4 an epoch that ended without a last word counts as complete": Fault(
        _ended_epoch_counts_as_complete, "machine_dies_with_an_acknowledged_capture"
    ),
    "A5 the agent does not tell what only its mark knows": Fault(
        _agent_tells_of_no_loss, "database_without_its_mark_is_put_back"
    ),
    "A6 head office does not notice two machines under one name": Fault(
        _second_machine_is_not_noticed, "two_machines_run_from_one_disk"
    ),
    "A6 an agent goes on in the epoch of another machine": Fault(
        _agent_does_not_hear_of_the_other_machine, "clones_capture_nothing_until_they_are_noticed"
    ),
    "A4 a late heartbeat of an epoch that has ended since makes its end unconfirmed": Fault(
        _last_heartbeat_to_arrive_counts, "heartbeat_of_an_epoch_before_arrives_late"
    ),
    "A7 the newest measurement of a boot counts": Fault(
        _newest_measurement_of_a_boot_counts, "batch_arrives_nine_hours_late"
    ),
    "A8 head office refuses duplicate members that the agent takes": Fault(
        _head_office_reads_each_of_duplicate_members, "members_stand_twice"
    ),
    "A8 what is left among purged events is not sent to an emptied head office": Fault(
        _emptied_head_office_lacks_what_is_among_purged_events,
        "old_session_with_a_young_answer_and_an_emptied_head_office",
    ),
    "A8 numbers of an old epoch stay outstanding after a renumbering": Fault(
        _numbers_above_the_end_of_an_epoch_stay_outstanding,
        "numbers_that_head_office_heard_of_are_moved_to_another_epoch",
    ),
    "A8 terms that another version misread are asked for by their ETag": Fault(
        _etag_of_misread_terms_is_sent, "terms_are_misread_by_another_version"
    ),
    "A8 retention follows a clock that was set ahead": Fault(
        _retention_follows_the_wall_clock, "clock_set_ahead_and_retention"
    ),
    "A8 a commit that reports an error but stands is decided again": Fault(
        _failed_commit_is_decided_again,
        "two_answers_are_committed_though_the_disk_reports_an_error",
    ),
}
