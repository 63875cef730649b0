"""Acknowledge the end of an epoch: a person accepts that its machine may have held more."""

from dataclasses import dataclass

from sqlalchemy import Connection

from sync.receiver.audit.audit_log import Action, AuditLog, safe_text
from sync.receiver.auth.tokens import AgentName
from sync.receiver.db import conditions, statements
from sync.receiver.db.bulk_insert import insert_rows
from sync.receiver.db.tables import gaps
from sync.receiver.ingest.epochs.end import EpochEnd, epoch_end
from sync.receiver.ingest.gaps import Acknowledgement, Gap
from sync.receiver.ingest.rows import acknowledgement_of, acknowledgement_row, epoch_key, gap_row

NEVER_ARRIVED = "its machine did not come back"


@dataclass(frozen=True, slots=True)
class AcceptedEnd:
    """An acknowledged end, and how many outstanding events are accepted as lost by it."""

    acknowledgement: Acknowledgement
    outstanding: int


def acknowledge_epoch(
    connection: Connection, name: AgentName, epoch: str, reason: str, audit: AuditLog
) -> AcceptedEnd | None:
    """Acknowledge the end of an epoch; None if it has not ended, or needs no acknowledgement.

    Its outstanding events become an acknowledged gap. An end that is acknowledged already keeps
    its acknowledgement.
    """
    key = conditions.params_for(name, epoch)
    # A batch that arrives now locks this row first as well.
    rows = connection.execute(statements.SELECT_AGENTS_FOR_UPDATE, {**key, "epochs": [epoch]})
    row = rows.mappings().first()
    if row is None or row["is_current"]:
        return None
    outstanding = row["last_sequence"] - row["accepted_through"]
    if not outstanding and epoch_end(row.__getitem__) is not EpochEnd.UNCONFIRMED:
        earlier = acknowledgement_of(row)
        return None if earlier is None else AcceptedEnd(earlier, 0)
    accepted = Acknowledgement(audit.now(), audit.author.user, safe_text(reason))
    if outstanding:
        gap = Gap(row["accepted_through"] + 1, row["last_sequence"], NEVER_ARRIVED, accepted)
        insert_rows(connection, gaps, [gap_row(epoch_key(name, epoch), gap, accepted.at)])
    values = {"accepted_through": row["last_sequence"], **acknowledgement_row(accepted)}
    connection.execute(statements.UPDATE_AGENT, {**key, **values})
    known = {"captures": row["last_sequence"], "outstanding": outstanding}
    audit.record(
        connection, Action.ACKNOWLEDGE_EPOCH, name, epoch=epoch, reason=accepted.reason, **known
    )
    return AcceptedEnd(accepted, outstanding)
