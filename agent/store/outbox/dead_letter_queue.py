"""Dead letters: events that central rejected for good, to be listed, retried or discarded."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement
from sqlmodel import Session, and_, col, exists, or_, select, text, update
from sqlmodel.sql.expression import Select

from agent.facts import Receipt
from agent.store.access import StoreAccess
from agent.store.db.cursor import CENTRAL, read_cursor
from agent.store.db.epochs import Epochs, read_epochs
from agent.store.db.rows import driver_connection, int_or_none, readable
from agent.store.db.tables import (
    IS_OPEN,
    DeadLetterRow,
    EmailAnswerRow,
    EventRow,
    SessionRow,
    SettledRow,
)
from agent.store.outbox.deferred import (
    IS_DEFERRED,
    IS_STUCK,
    retry_deferred,
    set_aside,
    set_aside_stuck,
)
from agent.store.outbox.settle import add_dead_letters, release_waiting, retry_answers
from agent.store.outbox.windows import UNREADABLE
from sync.delivery.outcomes import Refused
from sync.protocol.wire import DAMAGED_TYPE, ErrorCode, EventType

RETRY_AFTER_US = 24 * 3600 * 1_000_000
MAX_RETRIES_IN_A_TRANSACTION = 500
STANDS_REFUSED = Refused(
    "STANDS_REFUSED",
    "head office was restored to a state in which this was rejected; it is sent again",
    None,
)
_position = col(DeadLetterRow.position)
_is_open = and_(col(DeadLetterRow.destination) == CENTRAL, text(IS_OPEN))


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A rejected event and the reason, or a deferred one. Times in microseconds since 1970 UTC.

    `stuck_since_us`, if it is deferred: it waits for a verdict, and is tried again by itself.
    Of a damaged event, the type may be `DAMAGED_TYPE`, and the correlation id empty.
    """

    receipt: Receipt
    type: str
    correlation_id: str
    error_code: str
    error_message: str
    http_status: int | None
    refused_at_us: int
    attempts: int
    retry_wanted: bool
    discarded_at_us: int | None
    stuck_since_us: int | None = None


class DeadLetters:
    """The dead letters of this machine. Every method raises `OutboxUnavailable`."""

    def __init__(self, store: StoreAccess, now_us: Callable[[], int], agent_version: str) -> None:
        self._store = store
        self._now_us = now_us
        self._agent_version = agent_version

    async def page(
        self, limit: int, after: Receipt | None = None, *, is_any: bool = False
    ) -> list[DeadLetter]:
        """Return up to `limit` dead letters not discarded, in ascending order, above `after`.

        Of deferred events those that are stuck, unless `is_any`.
        """
        return await self._store.read(_page, limit, after, is_any)

    async def find(self, epoch: str, sequence: int) -> DeadLetter | None:
        """Return the dead letter with this receipt, even a discarded one."""
        return await self._store.read(_find, epoch, sequence)

    async def retry(self, epoch: str, sequence: int) -> bool:
        """Mark a dead letter, and the answers rejected with it, for retry in the next pass.

        Returns False if there is no such dead letter, or it is discarded.
        """
        return await self._store.write(_retry, epoch, sequence)

    async def discard(self, epoch: str, sequence: int) -> bool:
        """Discard a dead letter for good and erase its address; return False if there is none."""
        return await self._store.write(_discard, epoch, sequence, self._now_us())

    async def retry_delivered(self, epoch: str, sequences: Sequence[int]) -> int:
        """Retry delivered events that central reports as rejected, after it fell back.

        They become dead letters until then. Returns how many; an event that is pending, a dead
        letter or purged is left unchanged.
        """
        # Central reports our own dead letters, too, at every heartbeat; mostly there are no others.
        if not await self._store.read(_find_delivered, epoch, sequences):
            return 0
        return await self._store.write(
            _retry_delivered, epoch, sequences, self._now_us(), self._agent_version
        )

    async def retry_deferred(self) -> None:
        """Try the deferred events again in the next pass, at most some hundreds."""
        await self._store.write(retry_deferred, MAX_RETRIES_IN_A_TRANSACTION)

    async def set_aside(self, epoch: str, sequence: int) -> bool:
        """Make a deferred event a dead letter; return False if there is no such one."""
        return await self._store.write(set_aside, epoch, sequence, self._now_us())

    async def set_aside_stuck(self, days: int) -> int:
        """Make each event that has been stuck for so many days a dead letter; return how many."""
        now_us, total, most = self._now_us(), 0, MAX_RETRIES_IN_A_TRANSACTION
        count, for_us = most, days * RETRY_AFTER_US
        while count == most:
            count = await self._store.write(set_aside_stuck, for_us, now_us, most)
            total += count
        return total

    async def retry_due(self) -> int:
        """Mark for retry each event rejected from another version, or a day ago from this one.

        Returns how many.
        """
        now_us, total, count = self._now_us(), 0, MAX_RETRIES_IN_A_TRANSACTION
        while count == MAX_RETRIES_IN_A_TRANSACTION:
            count = await self._store.write(_retry_due, self._agent_version, now_us)
            total += count
        return total

    async def retry_key_lost(self) -> int:
        """Mark for retry the events that lacked their key: at a start or a change of keys."""
        return await self._store.write(mark_key_lost_for_retry)


def mark_key_lost_for_retry(session: Session) -> int:
    """Mark for retry the events that lacked their key; return how many."""
    lacks_key = col(DeadLetterRow.error_code) == ErrorCode.KEY_LOST
    return _mark_for_retry(session, and_(_is_open, lacks_key))


def _page(
    session: Session,
    limit: int,
    after: Receipt | None,
    is_any: bool,  # noqa: FBT001 - run by its position
) -> list[DeadLetter]:
    epochs = _epochs(session)
    above = epochs.position_of(after.epoch, after.sequence) if after else None
    query = _letters().where(_is_open, _position > (above or 0)).order_by(_position).limit(limit)
    if not is_any:
        query = query.where(or_(~IS_DEFERRED, IS_STUCK))
    return [_dead_letter(epochs, *row) for row in session.exec(query)]


def _find(session: Session, epoch: str, sequence: int) -> DeadLetter | None:
    epochs = _epochs(session)
    at = epochs.position_of(epoch, sequence)
    query = _letters().where(col(DeadLetterRow.destination) == CENTRAL, _position == at)
    row = session.exec(query).first()
    return None if row is None else _dead_letter(epochs, *row)


def _letters() -> Select[int, str, str, int, int, int, int, int, int, str, str]:
    """Select dead letters; also those of which the event or its session is gone."""
    letter = DeadLetterRow
    columns = (letter.position, letter.error_code, letter.error_message, letter.http_status)
    more = (letter.refused_at_us, letter.attempts, letter.retry_wanted)
    times = (letter.discarded_at_us, letter.stuck_since_us)
    return (  # type: ignore[no-any-return] # eleven columns: the stubs know four
        select(*columns, *more, *times, EventRow.type, SessionRow.correlation_id)  # type: ignore[call-overload]
        .join(EventRow, col(EventRow.position) == _position, isouter=True)
        .join(SessionRow, col(SessionRow.position) == col(EventRow.session_position), isouter=True)
    )


def _dead_letter(epochs: Epochs, *values: object) -> DeadLetter:
    """Return a dead letter; a value of it that is damaged holds it up no more than any other."""
    position, code, message, status, refused_at, attempts, retry, *others = values
    discarded, stuck_since, kind, name = others
    assert isinstance(position, int)  # noqa: S101 - the column is compared with a number
    return DeadLetter(
        receipt=epochs.receipt(position),
        type=kind if isinstance(kind, str) and kind in set(EventType) else DAMAGED_TYPE,
        correlation_id=readable(name),
        error_code=readable(code, UNREADABLE),
        error_message=readable(message, UNREADABLE),
        http_status=int_or_none(status),
        refused_at_us=int_or_none(refused_at) or 0,
        attempts=int_or_none(attempts) or 0,
        retry_wanted=retry == 1,
        discarded_at_us=int_or_none(discarded),
        stuck_since_us=int_or_none(stuck_since),
    )


def _change_open(session: Session, epoch: str, sequence: int, **values: int | None) -> int | None:
    """Change an open dead letter; return its position, None if there is no such one."""
    at = _epochs(session).position_of(epoch, sequence)
    changed = session.exec(
        update(DeadLetterRow)
        .where(_is_open, _position == at)
        .values(**values)
        .execution_options(synchronize_session=False)
    ).rowcount
    return at if changed else None


def _retry(session: Session, epoch: str, sequence: int) -> bool:
    # A damaged time of discarding would keep it from being read for the retry.
    values = {"retry_wanted": 1, "discarded_at_us": None, "next_try_at_us": 0}
    at = _change_open(session, epoch, sequence, **values)
    if at is not None:
        retry_answers(driver_connection(session), [at])
    return at is not None


def _discard(session: Session, epoch: str, sequence: int, now_us: int) -> bool:
    values = {"retry_wanted": 0, "discarded_at_us": now_us, "stuck_since_us": None}
    at = _change_open(session, epoch, sequence, **values)
    if at is not None:
        release_waiting(driver_connection(session), [at])
        session.exec(
            update(EmailAnswerRow)
            .where(col(EmailAnswerRow.position) == at)
            .values(address=None)
            .execution_options(synchronize_session=False)
        )
    return at is not None


def _find_delivered(session: Session, epoch: str, sequences: Sequence[int]) -> list[int]:
    """Return the positions of those of `sequences` that are held and delivered. Read-only."""
    epochs, position = _epochs(session), col(EventRow.position)
    positions = [epochs.position_of(epoch, sequence) for sequence in sequences]
    is_settled = or_(
        position <= read_cursor(driver_connection(session)).watermark,
        exists().where(
            col(SettledRow.destination) == CENTRAL, col(SettledRow.position) == position
        ),
    )
    is_dead = exists().where(col(DeadLetterRow.destination) == CENTRAL, _position == position)
    query = select(EventRow.position).where(
        position.in_([at for at in positions if at is not None]), is_settled, ~is_dead
    )
    return list(session.exec(query))


def _retry_delivered(
    session: Session, epoch: str, sequences: Sequence[int], now_us: int, agent_version: str
) -> int:
    positions = _find_delivered(session, epoch, sequences)
    rejected = dict.fromkeys(positions, STANDS_REFUSED)
    add_dead_letters(driver_connection(session), rejected, now_us, agent_version)
    _mark_for_retry(session, _position.in_(positions))
    return len(positions)


def _retry_due(session: Session, agent_version: str, now_us: int) -> int:
    due = (
        select(DeadLetterRow.position)
        .where(
            _is_open,
            DeadLetterRow.retry_wanted == 0,
            or_(
                col(DeadLetterRow.agent_version) != agent_version,
                col(DeadLetterRow.refused_at_us) <= now_us - RETRY_AFTER_US,
                # The clock was set back since.
                col(DeadLetterRow.refused_at_us) > now_us,
            ),
        )
        .limit(MAX_RETRIES_IN_A_TRANSACTION)
    )
    return _mark_for_retry(session, _position.in_(due))


def _mark_for_retry(session: Session, condition: ColumnElement[bool]) -> int:
    return session.exec(
        update(DeadLetterRow)
        .where(col(DeadLetterRow.destination) == CENTRAL, condition)
        .values(retry_wanted=1, next_try_at_us=0)
        .execution_options(synchronize_session=False)
    ).rowcount


def _epochs(session: Session) -> Epochs:
    return read_epochs(driver_connection(session))
