"""Acknowledge a gap: a person accepts the loss, and the gap no longer counts as incomplete."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sqlalchemy import Connection, bindparam, select, update

from sync.receiver.audit.audit_log import Action, AuditLog, safe_text
from sync.receiver.auth.tokens import AgentName
from sync.receiver.db import conditions, statements
from sync.receiver.db.tables import gaps
from sync.receiver.ingest.gaps import Acknowledgement, Gap
from sync.receiver.ingest.rows import acknowledgement_row, gap_of

_IS_GAP = gaps.c.first_sequence == bindparam("of_first")
_SELECT = select(gaps).where(conditions.is_epoch(gaps), _IS_GAP)
_UPDATE = update(gaps).where(conditions.is_epoch(gaps), _IS_GAP)


@dataclass(frozen=True, slots=True)
class GapName:
    """Names a gap by its till, epoch and first sequence number."""

    till: AgentName
    epoch: str
    first: int

    @property
    def params(self) -> Mapping[str, object]:
        """The parameters that bind a statement to this gap."""
        return {**conditions.params_for(self.till, self.epoch), "of_first": self.first}


def acknowledge_gap(
    connection: Connection, name: GapName, reason: str, audit: AuditLog
) -> Gap | None:
    """Acknowledge a gap; return it as it is stored then, or None if there is no such gap.

    A gap that is acknowledged already keeps its acknowledgement.
    """
    # A batch that arrives now may split the gap: it locks this row first as well.
    connection.execute(statements.SELECT_AGENTS_FOR_UPDATE, {**name.params, "epochs": [name.epoch]})
    row = connection.execute(_SELECT, name.params).mappings().first()
    if row is None:
        return None
    gap = gap_of(row)
    if gap.acknowledgement is not None:
        return gap
    accepted = Acknowledgement(audit.now(), audit.author.user, safe_text(reason))
    connection.execute(_UPDATE.values(acknowledgement_row(accepted)), name.params)
    numbers = {"first": gap.first, "last": gap.last}
    audit.record(
        connection,
        Action.ACKNOWLEDGE,
        name.till,
        epoch=name.epoch,
        **numbers,
        reason=accepted.reason,
    )
    return replace(gap, acknowledgement=accepted)
