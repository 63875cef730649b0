"""SQL statements of the ledger. Each is keyed by `store_id` and runs on SQLite and PostgreSQL.

Built once at import: building a statement costs the receiver more than running it. The agent
and epoch are bound as parameters, by `conditions.params_for`.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeAlias

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    delete,
    func,
    literal,
    or_,
    select,
    true,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import Insert

from sync.receiver.db.columns import JsonTexts, UtcTimestamp
from sync.receiver.db.conditions import (
    FIRST,
    IS_CURRENT,
    LAST,
    Among,
    among,
    in_range,
    is_agent,
    is_epoch,
)
from sync.receiver.db.tables import (
    agents,
    answers,
    boots,
    duplicates,
    gaps,
    hours,
    purged_digests,
    rejections,
    sessions,
    uncertain_times,
)

_LONGEST_LAG = "longest_lag_seconds"


_NUMBERS = bindparam("numbers", type_=BigInteger, expanding=True)


# On PostgreSQL, locks the rows of these `epochs` until the end of the transaction, ordered by
# name: a fixed lock order avoids deadlocks.
SELECT_AGENTS_FOR_UPDATE = (
    select(agents)
    .where(is_agent(agents), among(agents.c.epoch, "epochs"))
    .order_by(agents.c.epoch)
    .with_for_update()
)

_IS_CURRENT = and_(is_agent(agents), IS_CURRENT)
# As above, with the till's current epoch: for a transaction that may write that row as well.
_EPOCHS = bindparam("epochs", type_=JsonTexts)
_CURRENT_EPOCH = select(agents.c.epoch).where(_IS_CURRENT).correlate(None).scalar_subquery()
SELECT_AGENTS_AND_CURRENT_FOR_UPDATE = (
    select(agents)
    .where(is_agent(agents), Among(agents.c.epoch, _EPOCHS, _CURRENT_EPOCH))
    .order_by(agents.c.epoch)
    .with_for_update()
)
# The till's current epoch, locked; nothing if another transaction has it locked: that one is of the
# same till and writes what this one would write.
SELECT_CURRENT_EPOCH = select(agents).where(_IS_CURRENT).with_for_update(skip_locked=True)
CLEAR_CURRENT_EPOCH = update(agents).where(_IS_CURRENT).values(is_current=None)
SELECT_RETIRED_AT = select(agents.c.retired_at).where(_IS_CURRENT)
NOTE_REFUSED_EPOCHS = (
    update(agents)
    .where(
        _IS_CURRENT,
        or_(
            agents.c.epochs_refused_at.is_(None),
            agents.c.epochs_refused_at < bindparam("noted_before", type_=UtcTimestamp),
        ),
    )
    .values(epochs_refused_at=bindparam("refused_at"))
)


def _count_epochs(condition: ColumnElement[bool]) -> Select[Any]:
    """Count the till's epochs, up to `most`."""
    epochs = select(agents.c.epoch).where(is_agent(agents), condition)
    some = epochs.limit(bindparam("most", type_=BigInteger)).subquery()
    return select(func.count().label("epochs")).select_from(some)


_NUMBERED = (sessions, answers, rejections, duplicates)
_NO_NUMBER = literal(0, BigInteger)
COUNT_EPOCHS = _count_epochs(true())
COUNT_NEW_EPOCHS = _count_epochs(agents.c.begun_at > bindparam("since", type_=UtcTimestamp))

# The highest stored number in each of these `epochs`, and the highest one with a digest.
_stored_numbers = union_all(
    *(
        select(table.c.epoch, func.max(number).label("number"), func.max(purged).label("purged"))
        .where(is_agent(table), among(table.c.epoch, "epochs"))
        .group_by(table.c.epoch)
        for table, number, purged in (
            *((one, one.c.sequence, _NO_NUMBER) for one in _NUMBERED),
            (gaps, gaps.c.last_sequence, _NO_NUMBER),
            (purged_digests, *(purged_digests.c.last_sequence,) * 2),
        )
    )
).subquery()
SELECT_HIGHEST_NUMBERS = select(
    _stored_numbers.c.epoch,
    func.max(_stored_numbers.c.number).label("through"),
    func.max(_stored_numbers.c.purged).label("purged_through"),
).group_by(_stored_numbers.c.epoch)

UPDATE_AGENT = update(agents).where(is_epoch(agents))
UPDATE_HEARTBEAT = UPDATE_AGENT.values(
    heartbeat_before_at=agents.c.heartbeat_at, outstanding_before=agents.c.outstanding
)

# A page of the rejected numbers in these `epochs` (keyset pagination).
MAX_REJECTED_NAMED = 200
SELECT_REJECTED = (
    select(rejections.c.epoch, rejections.c.sequence)
    .where(
        is_agent(rejections),
        among(rejections.c.epoch, "epochs"),
        tuple_(rejections.c.epoch, rejections.c.sequence)
        > tuple_(bindparam("after_epoch", type_=Text), bindparam("after", type_=BigInteger)),
    )
    .order_by(rejections.c.epoch, rejections.c.sequence)
    .limit(MAX_REJECTED_NAMED)
)

# The clocks of these `boot_ids`.
SELECT_BOOTS = select(boots).where(is_agent(boots), among(boots.c.boot_id, "boot_ids"))
SELECT_SOME_BOOTS = (
    select(boots.c.boot_id, boots.c.zero_at)
    .where(is_agent(boots))
    .limit(bindparam("most", type_=BigInteger))
)
UPDATE_BOOT = update(boots).where(is_agent(boots), boots.c.boot_id == bindparam("of_boot"))
DELETE_BOOTS = delete(boots).where(is_agent(boots), among(boots.c.boot_id, "boot_ids"))
DELETE_UNCERTAIN_OF_BOOTS = delete(uncertain_times).where(
    is_agent(uncertain_times), among(uncertain_times.c.boot_id, "boot_ids")
)
# The first events of uncertain times of a boot, in these `epochs`.
SELECT_UNCERTAIN = (
    select(uncertain_times)
    .where(
        is_agent(uncertain_times),
        among(uncertain_times.c.epoch, "epochs"),
        uncertain_times.c.boot_id == bindparam("of_boot"),
    )
    .order_by(uncertain_times.c.epoch, uncertain_times.c.sequence)
    .limit(bindparam("most", type_=BigInteger))
)
_IS_NUMBER = bindparam("of_sequence", type_=BigInteger)
DELETE_UNCERTAIN = delete(uncertain_times).where(
    is_epoch(uncertain_times), uncertain_times.c.sequence == _IS_NUMBER
)
CORRECT_TIMES = tuple(
    update(table)
    .where(is_epoch(table), table.c.sequence == _IS_NUMBER)
    .values(corrected_at=bindparam("at"), clock_trusted=True)
    for table in (sessions, answers)
)


@cache
def select_range(table: Table) -> Select[tuple[object, ...]]:
    """Return a select of the rows with numbers `first` to `last` inclusive."""
    return select(table).where(in_range(table))


@cache
def select_numbers(table: Table) -> Select[tuple[object, ...]]:
    """Return a select of the rows with these `numbers`."""
    return select(table).where(is_epoch(table), table.c.sequence.in_(_NUMBERS))


# The gaps that overlap the numbers `first` to `last`.
SELECT_OVERLAPPING_GAPS = select(gaps).where(
    is_epoch(gaps), gaps.c.first_sequence <= LAST, gaps.c.last_sequence >= FIRST
)

# The gaps from the last one that begins at or below `first` on, up to `last`, at most `most`.
_last_below = select(func.max(gaps.c.first_sequence)).where(
    is_epoch(gaps), gaps.c.first_sequence <= FIRST
)
SELECT_GAPS_IN_SPAN = (
    select(gaps)
    .where(
        is_epoch(gaps),
        gaps.c.first_sequence
        >= func.coalesce(_last_below.correlate(None).scalar_subquery(), FIRST),
        gaps.c.first_sequence <= LAST,
    )
    .order_by(gaps.c.first_sequence)
    .limit(bindparam("most", type_=BigInteger))
)
SELECT_EPOCHS_WITH_OPEN_GAPS = (
    select(gaps.c.epoch)
    .where(is_agent(gaps), among(gaps.c.epoch, "epochs"), gaps.c.acknowledged_at.is_(None))
    .distinct()
)

# The digests of purged events in the blocks that begin with these `numbers`.
SELECT_PURGED_DIGESTS = select(purged_digests.c.first_sequence, purged_digests.c.digests).where(
    is_epoch(purged_digests), purged_digests.c.first_sequence.in_(_NUMBERS)
)

# Delete the rejections of these `numbers`, and the gaps that begin with them.
DELETE_REJECTIONS = delete(rejections).where(
    is_epoch(rejections), rejections.c.sequence.in_(_NUMBERS)
)
DELETE_GAPS = delete(gaps).where(is_epoch(gaps), gaps.c.first_sequence.in_(_NUMBERS))

RESTORE_ADDRESS = (
    update(answers)
    .where(is_epoch(answers), answers.c.sequence == bindparam("of_sequence"))
    .values(email_address=bindparam("address"), address_erased=False)
)


# Both dialects have the same API for ON CONFLICT, but no common base class.
_Insert: TypeAlias = postgresql.Insert | sqlite.Insert
_INSERT: Mapping[str, Callable[[Table], _Insert]] = {
    "postgresql": postgresql.insert,
    "sqlite": sqlite.insert,
}


@cache
def insert_agents(dialect: str) -> Insert:
    """Return an insert of agents' rows that leaves existing rows unchanged."""
    return _INSERT[dialect](agents).on_conflict_do_nothing(index_elements=agents.primary_key)


@cache
def upsert_boot(dialect: str) -> Insert:
    """Return an upsert of a boot's clock."""
    insert = _INSERT[dialect](boots)
    kept = {*boots.primary_key, boots.c.spoke_at, boots.c.has_uncertain}
    clock = {one.name: insert.excluded[one.name] for one in boots.c if one not in kept}
    return insert.on_conflict_do_update(index_elements=boots.primary_key, set_=clock)


@cache
def upsert_purged_digests(dialect: str) -> Insert:
    """Return an upsert of blocks of digests."""
    insert = _INSERT[dialect](purged_digests)
    changed = {name: insert.excluded[name] for name in ("last_sequence", "digests")}
    return insert.on_conflict_do_update(index_elements=purged_digests.primary_key, set_=changed)


@cache
def upsert_hours(dialect: str) -> Insert:
    """Return an upsert that adds increments to an hour's sums."""
    insert = _INSERT[dialect](hours)
    sums = {
        column.name: column + insert.excluded[column.name]
        for column in hours.c
        if not column.primary_key and column.name != _LONGEST_LAG
    }
    # SQLite's max with two arguments is scalar, like PostgreSQL's greatest.
    greatest = func.greatest if dialect == "postgresql" else func.max
    longest = greatest(hours.c[_LONGEST_LAG], insert.excluded[_LONGEST_LAG])
    return insert.on_conflict_do_update(
        index_elements=hours.primary_key, set_={**sums, _LONGEST_LAG: longest}
    )
