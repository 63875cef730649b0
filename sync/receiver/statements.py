"""The statements of the ledger. Each carries `store_id`, and runs on SQLite and PostgreSQL."""

import json
from collections.abc import Collection
from typing import TypeAlias

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Delete,
    Dialect,
    Select,
    Table,
    Text,
    and_,
    any_,
    bindparam,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import Insert

from sync.receiver.hours import COUNTS, LONGEST
from sync.receiver.tables import (
    Agent,
    Boot,
    Double,
    EmailAnswer,
    Hour,
    NotedGap,
    Rejected,
    Session,
    table_of,
)
from sync.receiver.tokens import AgentName
from sync.wire import EventType

Names: TypeAlias = Collection[str]

agents, boots = table_of(Agent), table_of(Boot)
sessions, answers = table_of(Session), table_of(EmailAnswer)
rejections, doubles, gaps = table_of(Rejected), table_of(Double), table_of(NotedGap)
hours = table_of(Hour)


def among(dialect: Dialect, column: ColumnElement[str], texts: Names) -> ColumnElement[bool]:
    """Return the condition that `column` is one of `texts`, given to the database as one value.

    With a parameter for each, the statement would be another one for every batch.
    """
    match dialect.name:
        case "postgresql":
            return column == any_(bindparam(None, list(texts), type_=ARRAY(Text)))
        case _:
            listed = func.json_each(json.dumps(list(texts))).table_valued("value")
            return column.in_(select(listed.c.value))


def of_agent(table: Table, name: AgentName) -> ColumnElement[bool]:
    """Return the condition for the rows of one agent."""
    return and_(table.c.store_id == name.store_id, table.c.till_id == name.till_id)


def of_epoch(table: Table, name: AgentName, epoch: str) -> ColumnElement[bool]:
    """Return the condition for the rows of one epoch."""
    return and_(of_agent(table, name), table.c.epoch == epoch)


def agent_rows(name: AgentName, epochs: Names) -> Select[tuple[object, ...]]:
    """Return the epochs' rows; on PostgreSQL they are locked until the end of the transaction.

    In the order of their names: whoever locks several does it in the same order.
    """
    return (
        select(agents)
        .where(of_agent(agents, name), agents.c.epoch.in_(epochs))
        .order_by(agents.c.epoch)
        .with_for_update()
    )


def boots_of(name: AgentName, boot_ids: Names) -> Select[tuple[object, ...]]:
    """Return the anchors of these boots."""
    return select(boots.c.boot_id, boots.c.zero_at).where(
        of_agent(boots, name), boots.c.boot_id.in_(boot_ids)
    )


def under_numbers(
    table: Table, name: AgentName, epoch: str, numbers: tuple[int, int]
) -> Select[tuple[object, ...]]:
    """Return the rows that stand under these numbers, first and last included."""
    return select(table).where(
        of_epoch(table, name, epoch), table.c.sequence.between(numbers[0], numbers[1])
    )


def gaps_around(
    name: AgentName, epoch: str, numbers: tuple[int, int]
) -> Select[tuple[object, ...]]:
    """Return the gaps that hold any of these numbers."""
    return select(gaps).where(
        of_epoch(gaps, name, epoch),
        gaps.c.first_sequence <= numbers[1],
        gaps.c.last_sequence >= numbers[0],
    )


def under_ids(
    dialect: Dialect, table: Table, name: AgentName, ids: Names
) -> Select[tuple[object, ...]]:
    """Return the rows of the store under these correlation ids."""
    return select(table).where(
        table.c.store_id == name.store_id, among(dialect, table.c.correlation_id, ids)
    )


def refused_sessions(dialect: Dialect, name: AgentName, ids: Names) -> Select[tuple[object, ...]]:
    """Return the epoch and correlation id of the agent's sessions that stand rejected."""
    return select(rejections.c.epoch, rejections.c.correlation_id).where(
        of_agent(rejections, name),
        among(dialect, rejections.c.correlation_id, ids),
        rejections.c.type == EventType.SESSION_STARTED.value,
    )


def drop_rejections(name: AgentName, epoch: str, numbers: Collection[int]) -> Delete:
    """End the rejections of these numbers."""
    return delete(rejections).where(
        of_epoch(rejections, name, epoch), rejections.c.sequence.in_(numbers)
    )


def drop_gaps(name: AgentName, epoch: str, firsts: Collection[int]) -> Delete:
    """Drop the gaps that begin with these numbers."""
    return delete(gaps).where(of_epoch(gaps, name, epoch), gaps.c.first_sequence.in_(firsts))


RESTORE_ADDRESS = (
    update(answers)
    .where(
        answers.c.store_id == bindparam("of_store"),
        answers.c.till_id == bindparam("of_till"),
        answers.c.epoch == bindparam("of_epoch"),
        answers.c.sequence == bindparam("of_sequence"),
    )
    .values(email_address=bindparam("address"), address_erased=False)
)


def add_unless_there(dialect: Dialect, table: Table) -> Insert:
    """Return an insert that leaves a row that is there as it is."""
    match dialect.name:
        case "postgresql":
            return postgresql.insert(table).on_conflict_do_nothing()
        case _:
            return sqlite.insert(table).on_conflict_do_nothing()


def put_boot(dialect: Dialect) -> Insert:
    """Return an insert of a boot's anchor that replaces the one before."""
    match dialect.name:
        case "postgresql":
            adding = postgresql.insert(boots)
            return adding.on_conflict_do_update(
                index_elements=boots.primary_key, set_={"zero_at": adding.excluded.zero_at}
            )
        case _:
            lite = sqlite.insert(boots)
            return lite.on_conflict_do_update(
                index_elements=boots.primary_key, set_={"zero_at": lite.excluded.zero_at}
            )


def add_to_hours(dialect: Dialect) -> Insert:
    """Return an insert of an hour's sums that adds them to those that are there."""
    match dialect.name:
        case "postgresql":
            adding = postgresql.insert(hours)
            longer = func.greatest(hours.c[LONGEST], adding.excluded[LONGEST])
            sums = {name: hours.c[name] + adding.excluded[name] for name in COUNTS}
            return adding.on_conflict_do_update(
                index_elements=hours.primary_key, set_={**sums, LONGEST: longer}
            )
        case _:
            lite = sqlite.insert(hours)
            # With two arguments SQLite's max is the greater of them.
            longer = func.max(hours.c[LONGEST], lite.excluded[LONGEST])
            sums = {name: hours.c[name] + lite.excluded[name] for name in COUNTS}
            return lite.on_conflict_do_update(
                index_elements=hours.primary_key, set_={**sums, LONGEST: longer}
            )
