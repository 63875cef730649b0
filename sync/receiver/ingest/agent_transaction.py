"""One transaction on the ledger for one agent: its epochs locked, its boots stored.

Bounds the epochs and boots of a till: each is a row that head office keeps. An honest till
begins an epoch when its database is replaced or restored; one that restarts from a disk image does
so at every boot.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, CursorResult, Executable, RowMapping

from sync.receiver.auth.tokens import EnrolledAgent
from sync.receiver.db import conditions, statements
from sync.receiver.db.database import LostRaceError
from sync.receiver.ingest.epochs.closing import LastMessage, Sent, last_message_of
from sync.receiver.ingest.epochs.overtaken import Sending, is_overtaken
from sync.receiver.ingest.epochs.shared_name import NameUse, name_use_of
from sync.receiver.ingest.epochs.succession import end_of
from sync.receiver.ingest.rows import Row, epoch_key
from sync.receiver.ingest.times.clock_skew import BootClock, BootZero, boot_zero
from sync.runtime.logging import log_event

_log = logging.getLogger(__name__)
MAX_EPOCHS = 10_000
MAX_NEW_EPOCHS = 100
NEW_EPOCHS_WITHIN = timedelta(hours=24)
# Only undelivered events refer to an earlier boot.
MAX_BOOTS = 200
# Bounds the work if a database from before the bound holds a million.
_BOOTS_PER_PURGE = 1_000
_MAX_ROUND_TRIP_US = 86_400_000_000
_NOTE_REFUSED_EVERY = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class TooManyEpochs:
    """A message is of an epoch that the till may not begin now; nothing of it is stored."""


class BootSettled(NamedTuple):
    """A boot, and our time when its monotonic clock read zero."""

    boot_id: str
    zero_at: datetime


class AgentTransaction:
    """Statements for one agent in the transaction of `connection`. `now` is the time of receipt.

    Lock order: agent rows first, ordered by epoch, then boot rows. Otherwise two messages of one
    agent can deadlock.
    """

    def __init__(self, connection: Connection, agent: EnrolledAgent, now: datetime) -> None:
        self.connection = connection
        self.dialect = connection.dialect.name
        self.agent = agent
        self.now = now
        self._current: RowMapping | None = None
        # The clock of the message's boot by earlier messages.
        self.boot_before: BootClock | None = None
        self._boot_spoke = False
        # A boot that is confirmed, and has events of uncertain times.
        self.settled_boot: BootSettled | None = None

    def execute(
        self, statement: Executable, epoch: str | None = None, **values: object
    ) -> CursorResult[tuple[object, ...]]:
        """Run a statement bound to the agent and, if given, the epoch."""
        key = conditions.params_for(self.agent.name, epoch)
        return self.connection.execute(statement, {**key, **values})

    def lock_epoch(self, epoch: str) -> RowMapping | None:
        """Return the row of the epoch as `lock_epochs` does; None beyond the till's bounds."""
        found = self._select_epochs([epoch])
        return found.get(epoch) or self.lock_epochs(epoch).get(epoch)

    def lock_epochs(self, newest: str, older: Collection[str] = ()) -> dict[str, RowMapping]:
        """Return the rows of the epochs, locked until commit; insert them if absent.

        Locks the row of the till's current epoch as well. `newest` becomes the current epoch if it
        is inserted. Epochs beyond the till's bounds are not inserted and are missing in the result.
        """
        epochs = [newest, *older]
        found = self._select_epochs(epochs, statements.SELECT_AGENTS_AND_CURRENT_FOR_UPDATE)
        absent = [epoch for epoch in epochs if epoch not in found]
        if not absent:
            return found
        added = absent[: self._allowed_epochs()]
        if added:
            insert = statements.insert_agents(self.dialect)
            self.connection.execute(insert, self._new_epochs(added, newest))
        if newest in added:
            self.make_current(newest)
        if len(added) < len(absent):
            self._note_refused(len(absent) - len(added))
        return self._select_epochs(epochs)

    def make_current(self, epoch: str, captured_at: datetime | None = None) -> None:
        """Mark this epoch as the till's only current one; it follows the one that was.

        `captured_at` is our time of the last capture on the machine of an epoch that is not new.
        Call `lock_epochs` before.
        """
        if self._current is None:
            self._lock_current()
        ended = end_of(self._current, captured_at, self.now)
        self.execute(statements.CLEAR_CURRENT_EPOCH, None, **ended)
        of_till = name_use_of(self._current).row() | last_message_of(self._current).row()
        self.execute(statements.UPDATE_AGENT, epoch, is_current=True, **of_till)

    def note_contact(self, sent: Sent) -> None:
        """Store the time of contact with the till's current epoch: pages read only its row."""
        for row in self.execute(statements.SELECT_CURRENT_EPOCH).mappings().all():
            last = last_message_of(row).after(sent, self.now, self._zero_of)
            self.execute(statements.UPDATE_AGENT, row["epoch"], last_seen_at=self.now, **last.row())

    def note_carried(self, written_at: datetime, agent_version: str) -> None:
        """Store the till's last word, which was carried by hand, unless it was heard since.

        Call `lock_epochs` before.
        """
        row, at = self._current, min(written_at, self.now)
        if row is not None and (row["last_seen_at"] is None or row["last_seen_at"] < at):
            values = {"last_seen_at": at, "agent_version": agent_version}
            self.execute(statements.UPDATE_AGENT, row["epoch"], **values)

    def last_message(self, sent: Sent, *, is_closed: bool = False) -> LastMessage:
        """Return the till's last message after this one, for the row of its current epoch.

        Runs a statement only if the messages are of two boots. Call `store_boot` before.
        """
        before = last_message_of(self._current)
        return before.after(sent, self.now, self._zero_of, is_closed=is_closed)

    def store_boot(
        self, boot_id: str, sent_monotonic_us: int, round_trip_us: int | None
    ) -> dict[str, BootZero]:
        """Store and return our time when the boot's monotonic clock read zero, as measured so far.

        Writes nothing if the message only confirms the known value. See `wire` for `round_trip_us`.
        """
        measured = boot_zero(self.now, sent_monotonic_us)
        if measured is None:
            return {}
        row = self.execute(statements.SELECT_BOOTS, boot_ids=[boot_id]).mappings().first()
        if row is None:
            clock = BootClock(measured, self.now)
            self._write_boot(boot_id, clock)
            self._purge_boots()
            return {boot_id: BootZero(measured, is_confirmed=False)}
        known = self.boot_before = _clock_of(row, self.now)
        self._boot_spoke = row["spoke_at"] is not None
        round_trip = _round_trip(round_trip_us)
        clock = known.with_measurement(measured, self.now, round_trip)
        if clock != known:
            self._write_boot(boot_id, clock)
        if row["has_uncertain"] and clock.is_confirmed:
            self.settled_boot = BootSettled(boot_id, clock.zero_at)
        late_by = round_trip if self.now > known.heard_at else None
        others = (known.zero_at, measured)
        return {boot_id: BootZero(clock.zero_at, clock.is_confirmed, others, late_by)}

    def is_overtaken(self, sending: Sending) -> bool:
        """Return whether a heartbeat was sent before the till's last one.

        Call `lock_epochs` and `store_boot` before.
        """
        current = self._current
        return current is not None and is_overtaken(sending, current, self.boot_before, self.now)

    def name_use(self, sending: Sending | None = None, *, was_heard: bool = False) -> NameUse:
        """Return how the till's name is used; store it for a heartbeat that was not overtaken.

        `was_heard`: its epoch had a heartbeat before. Runs a statement of its own only if another
        machine, boot, epoch or process spoke last. Call `lock_epochs` and `store_boot` before.
        """
        use = name_use_of(self._current)
        if sending is None:
            return use
        speaker = sending.speaker
        if use.last != speaker:
            spoke = {"boot_spoke": self._boot_spoke, "epoch_spoke": was_heard}
            self.execute(statements.UPDATE_BOOT, of_boot=speaker.boot_id, spoke_at=self.now)
            is_return = use.is_return(speaker, **spoke)
            was_shared = use.is_shared(self.now)
            use = use.after(speaker, self.now, is_return=is_return)
            if use.is_shared(self.now) and not was_shared:
                log_event(_log, logging.WARNING, "agent.name_shared", **self._name)
        return replace(use, speaker_sent_us=sending.sent_us)

    def find_boots(self, boot_ids: Collection[str]) -> dict[str, BootZero]:
        """Return the known zero points of other boots."""
        rows = self.execute(statements.SELECT_BOOTS, boot_ids=boot_ids).mappings()
        known = {row["boot_id"]: _clock_of(row, self.now) for row in rows}
        return {id_: BootZero(clock.zero_at, clock.is_confirmed) for id_, clock in known.items()}

    def _zero_of(self, boot_id: str) -> datetime | None:
        found = self.find_boots([boot_id]).get(boot_id)
        return None if found is None else found.zero_at

    def _write_boot(self, boot_id: str, clock: BootClock) -> None:
        name = self.agent.name
        key: Row = {"store_id": name.store_id, "till_id": name.till_id, "boot_id": boot_id}
        self.connection.execute(statements.upsert_boot(self.dialect), {**key, **asdict(clock)})

    def _purge_boots(self) -> None:
        """Delete all but the newest boots of some; repeated calls leave the newest of all."""
        some = self.execute(statements.SELECT_SOME_BOOTS, most=_BOOTS_PER_PURGE).mappings().all()
        if len(some) <= MAX_BOOTS:
            return
        newest_first = sorted(some, key=lambda row: row["zero_at"], reverse=True)
        older = [row["boot_id"] for row in newest_first[MAX_BOOTS:]]
        self.execute(statements.DELETE_BOOTS, boot_ids=older)
        self.execute(statements.DELETE_UNCERTAIN_OF_BOOTS, boot_ids=older)

    def _lock_current(self) -> None:
        """Lock the till's current epoch, if it has one, which was another when `lock_epochs` began.

        Two machines have one name then. To wait for the row would be against the lock order.
        """
        self._current = self.execute(statements.SELECT_CURRENT_EPOCH).mappings().first()
        if self._current is None and self.execute(statements.SELECT_RETIRED_AT).first():
            raise LostRaceError

    def _allowed_epochs(self) -> int:
        """Return how many more epochs the till may name now."""
        known = self._count(statements.COUNT_EPOCHS, most=MAX_EPOCHS)
        if known >= MAX_EPOCHS:
            return 0
        since = self.now - NEW_EPOCHS_WITHIN
        new = self._count(statements.COUNT_NEW_EPOCHS, since=since, most=MAX_NEW_EPOCHS)
        return min(MAX_EPOCHS - known, MAX_NEW_EPOCHS - new)

    def _count(self, statement: Executable, **values: object) -> int:
        row = self.execute(statement, None, **values).mappings().one()
        return int(row["epochs"])

    def _note_refused(self, epochs: int) -> None:
        """Store and log the refusal, at most once an hour."""
        noted = self.execute(
            statements.NOTE_REFUSED_EPOCHS,
            refused_at=self.now,
            noted_before=self.now - _NOTE_REFUSED_EVERY,
        )
        if noted.rowcount:
            log_event(_log, logging.WARNING, "agent.too_many_epochs", **self._name, refused=epochs)

    @property
    def _name(self) -> dict[str, str]:
        return {"store": self.agent.name.store_id, "till": self.agent.name.till_id}

    def _select_epochs(
        self,
        epochs: Sequence[str],
        statement: Executable = statements.SELECT_AGENTS_FOR_UPDATE,
    ) -> dict[str, RowMapping]:
        rows = self.execute(statement, epochs=epochs).mappings().all()
        self._current = next((row for row in rows if row["is_current"]), self._current)
        return {row["epoch"]: row for row in rows if row["epoch"] in epochs}

    def _new_epochs(self, epochs: Sequence[str], newest: str) -> list[Row]:
        """Return new rows. If a row was deleted, it resumes after the highest stored number.

        All but `newest` have ended.
        A message that was on its way when its till was retired does not bring the till back.
        """
        retired_at = self.execute(statements.SELECT_RETIRED_AT).scalar()
        rows = self.execute(statements.SELECT_HIGHEST_NUMBERS, epochs=epochs).mappings()
        highest = {row["epoch"]: row for row in rows}
        none = {"through": 0, "purged_through": 0}
        return [
            {
                **epoch_key(self.agent.name, epoch),
                "accepted_through": highest.get(epoch, none)["through"],
                "last_sequence": highest.get(epoch, none)["through"],
                "purged_through": highest.get(epoch, none)["purged_through"],
                "enrolled_at": self.agent.enrolled_at,
                "begun_at": self.now,
                "retired_at": retired_at,
                "followed_at": None if epoch == newest else self.now,
            }
            for epoch in sorted(epochs)
        ]


def _round_trip(reported_us: int | None) -> timedelta | None:
    if reported_us is None or not 0 <= reported_us <= _MAX_ROUND_TRIP_US:
        return None
    return timedelta(microseconds=reported_us)


def _clock_of(row: RowMapping, now: datetime) -> BootClock:
    """Return the clock of a row of `boots`; the version before wrote only its zero point."""
    return BootClock(
        row["zero_at"],
        row["heard_at"] or now,
        bool(row["is_confirmed"]),
        row["later_zero_at"],
        row["later_since"],
    )
