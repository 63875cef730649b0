"""Retirement of tills: reports skip a retired till; its rows and numbers stay.

The fact is a column of the till's rows in `agents`, which every report reads anyway. A till that
never sent anything has no such row: without tokens it is unknown again.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, delete, func, select, true, update

from sync.receiver.auth.tokens import AgentName
from sync.receiver.db.conditions import in_stores, is_agent, params_for
from sync.receiver.db.tables import agents, join_codes, tokens

_DELETE_TOKENS = delete(tokens).where(is_agent(tokens))
_VOID_CODE = delete(join_codes).where(is_agent(join_codes))
_BRING_BACK = update(agents).where(is_agent(agents)).values(retired_at=None)


@dataclass(frozen=True, slots=True)
class RetiredTill:
    """A retired till: numbers of revoked tokens and join codes, and of events that do not arrive.

    `was_retired`: before, but it still had a token or a join code.
    """

    name: AgentName
    tokens: int
    outstanding: int
    codes: int = 0
    was_retired: bool = False


def revoke_tokens(connection: Connection, name: AgentName) -> int:
    """Delete all tokens of a till; return their number."""
    return connection.execute(_DELETE_TOKENS, params_for(name)).rowcount


def void_code(connection: Connection, name: AgentName) -> int:
    """Delete the join code of a till; return 1, or 0 if it has none."""
    return connection.execute(_VOID_CODE, params_for(name)).rowcount


def retire_tills(
    connection: Connection, store_id: str, till_id: str | None, at: datetime
) -> list[RetiredTill] | None:
    """Retire a till, or all tills of the store; return those that were not retired before.

    Their tokens are revoked, their join codes void. None if the till or store is unknown.
    """
    known = _known_tills(connection, store_id, till_id)
    if not known:
        return None
    retired = []
    for name, is_retired, outstanding in known:
        revoked = revoke_tokens(connection, name)
        voided = void_code(connection, name)
        mark = update(agents).where(is_agent(agents), agents.c.retired_at.is_(None))
        connection.execute(mark.values(retired_at=at), params_for(name))
        if not is_retired or revoked or voided:
            retired.append(RetiredTill(name, revoked, outstanding, voided, is_retired))
    return retired


def bring_back(connection: Connection, names: Collection[AgentName]) -> list[AgentName]:
    """Undo the retirement of those of these tills that are retired; return them."""
    of_stores = in_stores(agents.c.store_id, {name.store_id for name in names})
    found = select(agents.c.store_id, agents.c.till_id).distinct()
    found = found.where(of_stores, agents.c.retired_at.is_not(None))
    retired = {AgentName(*row) for row in connection.execute(found)}.intersection(names)
    for name in retired:
        connection.execute(_BRING_BACK, params_for(name))
    return sorted(retired, key=lambda name: (name.store_id, name.till_id))


def _known_tills(
    connection: Connection, store_id: str, till_id: str | None
) -> Sequence[tuple[AgentName, bool, int]]:
    """Return the tills with whether each is retired, and its outstanding events."""
    missing = func.sum(agents.c.last_sequence - agents.c.accepted_through)
    active = func.count() - func.count(agents.c.retired_at)
    reported = select(agents.c.till_id, active, missing).group_by(agents.c.till_id)
    is_wanted = agents.c.store_id == store_id, _is(agents.c.till_id, till_id)
    tills = {
        row[0]: (row[1] == 0, int(row[2])) for row in connection.execute(reported.where(*is_wanted))
    }
    for table in (tokens, join_codes):
        enrolled = select(table.c.till_id).where(table.c.store_id == store_id)
        for till in connection.scalars(enrolled.where(_is(table.c.till_id, till_id))):
            tills.setdefault(till, (False, 0))
    return [(AgentName(store_id, till), *state) for till, state in sorted(tills.items())]


def _is(column: ColumnElement[str], till_id: str | None) -> ColumnElement[bool]:
    return true() if till_id is None else column == till_id
