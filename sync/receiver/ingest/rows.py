"""Convert the decision on a batch into rows of the ledger's tables."""

from collections.abc import Mapping
from datetime import datetime
from typing import TypeAlias

from sync.receiver.auth.tokens import AgentName
from sync.receiver.db.statements import params_for
from sync.receiver.ingest.accept import AcceptedBatch, ValidEvent, type_of
from sync.receiver.ingest.clock_skew import SkewCorrector
from sync.receiver.ingest.events import AnswerEvent, InvalidEvent, SessionEvent
from sync.receiver.ingest.gaps import Gap
from sync.receiver.ingest.hourly_rollup import roll_up
from sync.receiver.ingest.parse import InboundBatch

Row: TypeAlias = dict[str, object]


def corrected_times(
    inbound: InboundBatch, accepted: AcceptedBatch, corrector: SkewCorrector
) -> dict[int, datetime | None]:
    """Return the skew-corrected times of the accepted events, by sequence; None if unknown."""
    corrected: dict[int, datetime | None] = {}
    events: dict[int, ValidEvent] = {session.sequence: session for session in accepted.sessions}
    events |= {answer.sequence: answer for answer in accepted.answers}
    own_boot = inbound.batch.boot_id
    # In order of their numbers: each trusted time bounds the ones after it.
    for sent in inbound.batch.events:
        event = events.get(sent.sequence)
        if event is not None:
            corrected[sent.sequence] = corrector.correct(
                event.occurred_at,
                sent.boot_id or own_boot,
                sent.monotonic_us,
                in_order=sent.sequence > accepted.resent_through,
            )
    return corrected


class RowBuilder:
    """Builds the rows of one batch. Columns in `common` are left out, except of gaps and hours."""

    def __init__(
        self, inbound: InboundBatch, corrected_times: Mapping[int, datetime | None]
    ) -> None:
        self._key = epoch_key(inbound.sender.name, inbound.batch.epoch)
        self._parameters = params_for(inbound.sender.name, inbound.batch.epoch)
        self._received_at = inbound.received_at
        self._corrected_times = corrected_times
        self.common = {**self._key, "received_at": inbound.received_at}

    def session(self, session: SessionEvent) -> Row:
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

    def answer(self, answer: AnswerEvent) -> Row:
        """Return a row of `email_answers`."""
        return {
            **self._event(answer),
            "status": answer.status,
            "email_address": answer.address,
            "address_erased": answer.erased,
        }

    def rejection(self, event: InvalidEvent) -> Row:
        """Return a row of `rejections`."""
        return {
            "sequence": event.sequence,
            "type": event.type,
            "correlation_id": event.correlation_id,
            "error_code": event.error_code,
            "error_message": event.error_message,
        }

    def duplicate(self, event: ValidEvent) -> Row:
        """Return a row of `duplicates`."""
        return {
            "sequence": event.sequence,
            "type": type_of(event).value,
            "correlation_id": event.correlation_id,
        }

    def gap(self, gap: Gap) -> Row:
        """Return a row of `gaps`."""
        return gap_row(self._key, gap, self._received_at)

    def hours(self, accepted: AcceptedBatch) -> list[Row]:
        """Return the increments for rows of `hours`."""
        key = {name: self._key[name] for name in ("store_id", "till_id")}
        hours = roll_up(accepted, self._corrected_times, self._received_at)
        return [{**key, **hour} for hour in hours]

    def restored_address(self, answer: AnswerEvent) -> Row:
        """Return the parameters of the update that restores an address."""
        return {**self._parameters, "of_sequence": answer.sequence, "address": answer.address}

    def _event(self, event: ValidEvent) -> Row:
        corrected_at = self._corrected_times[event.sequence]
        return {
            "sequence": event.sequence,
            "correlation_id": event.correlation_id,
            "body": event.body,
            "occurred_at": event.occurred_at,
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
