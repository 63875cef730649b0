"""Convert the decision on a batch into rows of the ledger's tables."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from sync.protocol.wire import EventType
from sync.receiver.auth.tokens import AgentName
from sync.receiver.ingest.accept import AcceptedBatch, Fact
from sync.receiver.ingest.clock_skew import Corrector
from sync.receiver.ingest.events import AnswerFact, InvalidEvent, SessionFact
from sync.receiver.ingest.gaps import Gap
from sync.receiver.ingest.hourly_rollup import hours_of
from sync.receiver.ingest.inbound import BatchArrival

Row: TypeAlias = dict[str, object]


@dataclass(frozen=True, slots=True)
class Times:
    """Skew-corrected times of a batch's events, by sequence; None if unknown."""

    corrected: Mapping[int, datetime | None]

    @classmethod
    def of(cls, arrival: BatchArrival, taken: AcceptedBatch, corrector: Corrector) -> "Times":
        """Correct the times of the accepted events, in order of their numbers."""
        corrected: dict[int, datetime | None] = {}
        kept: dict[int, Fact] = {session.sequence: session for session in taken.sessions}
        kept |= {answer.sequence: answer for answer in taken.answers}
        own_boot = arrival.batch.boot_id
        for sent in arrival.batch.events:
            event = kept.get(sent.sequence)
            if event is not None:
                corrected[sent.sequence] = corrector.correct(
                    event.occurred_at,
                    sent.boot_id or own_boot,
                    sent.monotonic_us,
                    in_order=sent.sequence > taken.repeated_through,
                )
        return cls(corrected)


class Rows:
    """Builds the rows of one batch. Columns in `alike` are left out, except of gaps and hours."""

    def __init__(self, arrival: BatchArrival, times: Times) -> None:
        self._key = epoch_key(arrival.caller.name, arrival.batch.epoch)
        self._received_at = arrival.received_at
        self.alike = {**self._key, "received_at": arrival.received_at}
        self._corrected = times.corrected

    def session(self, session: SessionFact) -> Row:
        """Return a row of `sessions`."""
        return {
            **self._event(session),
            "external_identifier": session.external_identifier,
            "channel": session.channel,
            "locale": session.locale,
            "anonymous_session_id": session.anonymous_session_id,
            "user_status": session.user_status,
            "query_locale": session.query_locale,
        }

    def answer(self, answer: AnswerFact) -> Row:
        """Return a row of `email_answers`."""
        return {
            **self._event(answer),
            "status": answer.status,
            "email_address": answer.address,
            "address_erased": answer.erased,
        }

    def rejection(self, unfit: InvalidEvent) -> Row:
        """Return a row of `rejections`."""
        return {
            "sequence": unfit.sequence,
            "type": unfit.type,
            "correlation_id": unfit.correlation_id,
            "error_code": unfit.error_code,
            "error_message": unfit.error_message,
        }

    def double(self, fact: Fact) -> Row:
        """Return a row of `duplicates`."""
        is_session = isinstance(fact, SessionFact)
        kind = EventType.SESSION_STARTED if is_session else EventType.EMAIL_ANSWERED
        return {
            "sequence": fact.sequence,
            "type": kind.value,
            "correlation_id": fact.correlation_id,
        }

    def gap(self, gap: Gap) -> Row:
        """Return a row of `gaps`."""
        return gap_row(self._key, gap, self._received_at)

    def hours(self, taken: AcceptedBatch) -> list[Row]:
        """Return the increments for rows of `hours`."""
        key = {name: self._key[name] for name in ("store_id", "till_id")}
        return [{**key, **hour} for hour in hours_of(taken, self._corrected, self._received_at)]

    def restored(self, answer: AnswerFact) -> Row:
        """Return the parameters of the update that restores an address."""
        return {
            "of_store": self._key["store_id"],
            "of_till": self._key["till_id"],
            "of_epoch": self._key["epoch"],
            "of_sequence": answer.sequence,
            "address": answer.address,
        }

    def _event(self, fact: Fact) -> Row:
        corrected_at = self._corrected[fact.sequence]
        return {
            "sequence": fact.sequence,
            "correlation_id": fact.correlation_id,
            "body": fact.body,
            "occurred_at": fact.occurred_at,
            "corrected_at": corrected_at,
            "clock_trusted": corrected_at is not None,
        }


def epoch_key(name: AgentName, epoch: str) -> Row:
    """Return the key columns of an agent's epoch."""
    return {"store_id": name.store_id, "till_id": name.till_id, "epoch": epoch}


def gap_row(key: Row, gap: Gap, noted_at: datetime) -> Row:
    """Return a row of `gaps` in the epoch of `key`."""
    return {
        **key,
        "first_sequence": gap.first,
        "last_sequence": gap.last,
        "reason": gap.reason,
        "noted_at": noted_at,
    }
