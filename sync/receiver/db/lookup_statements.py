"""Statements of the lookup for a batch. Each reads few rows, whatever the ledger holds under an id.

`SELECT_UNDER_IDS` finds the known ids of the batch: usually there are few. The other statements
then select, for these ids only, the rows that can equal an event. A session can have thousands of
answers, and an id thousands of rejections: no statement reads all of them.
"""

from collections.abc import Mapping
from functools import cache
from typing import TypeAlias

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    cast,
    column,
    func,
    literal_column,
    null,
    or_,
    select,
    text,
    type_coerce,
    union_all,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.selectable import TextualSelect

from sync.protocol.wire import EventType
from sync.receiver.db.columns import JsonTexts
from sync.receiver.db.conditions import among, is_agent, is_epoch
from sync.receiver.db.tables import answers, duplicates, gaps, rejections, sessions

ANSWERED, REJECTED = "answered", "rejected"
_STORE, _EPOCH = bindparam("of_store", type_=Text), bindparam("of_epoch", type_=Text)
_Found: TypeAlias = Select[tuple[object, ...]]


class Texts(FunctionElement[str]):
    """Table of the texts of a JSON array, with one column `value`."""

    inherit_cache = True


@compiles(Texts)
def _elements(element: Texts, compiler: SQLCompiler, **options: object) -> str:
    return f"json_array_elements_text(({compiler.process(element.clauses, **options)})::json)"


@compiles(Texts, "sqlite")
def _each(element: Texts, compiler: SQLCompiler, **options: object) -> str:
    return f"json_each({compiler.process(element.clauses, **options)})"


_ids = Texts(bindparam("ids", type_=JsonTexts)).table_valued(column("value", Text), name="ids")


def _exists(table: Table, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return the condition that a row exists under the id.

    A scalar subquery is run once per id, by the index. PostgreSQL would make a join of EXISTS,
    and may read the whole store for it.
    """
    one = (
        select(literal_column("1"))
        .where(table.c.store_id == _STORE, table.c.correlation_id == _ids.c.value, *conditions)
        .limit(1)
        .correlate(_ids)
        .scalar_subquery()
    )
    return one == literal_column("1")


_is_rejected_session = and_(
    is_agent(rejections), rejections.c.type == EventType.SESSION_STARTED.value
)
_SESSION = ("till_id", "sequence", "occurred_at", "query_locale", "body")


def _ids_in(name: str, table: Table, *conditions: ColumnElement[bool]) -> _Found:
    nothing = (type_coerce(null(), sessions.c[name].type).label(name) for name in _SESSION)
    kind = literal_column(f"'{name}'", Text).label("kind")
    # Looks first for a row under any of the ids: one index scan, which mostly finds none.
    is_any_known = (
        select(literal_column("1"))
        .where(table.c.store_id == _STORE, among(table.c.correlation_id, "ids"), *conditions)
        .exists()
    )
    return select(kind, _ids.c.value.label("correlation_id"), *nothing).where(
        is_any_known, _exists(table, *conditions)
    )


# In one round trip: the sessions under these correlation `ids`; the ids that have answers; and
# those of which this agent sent a session that was rejected.
SELECT_UNDER_IDS = union_all(
    select(
        literal_column(f"'{sessions.name}'", Text).label("kind"),
        sessions.c.correlation_id,
        *(sessions.c[name] for name in _SESSION),
    ).where(sessions.c.store_id == _STORE, among(sessions.c.correlation_id, "ids")),
    _ids_in(ANSWERED, answers),
    _ids_in(REJECTED, rejections, _is_rejected_session),
)


def _last_in_epoch(table: Table, *conditions: ColumnElement[bool]) -> ColumnElement[int]:
    """Return the last number of a row under the id in this epoch; 0 if there is none."""
    has_id = and_(is_epoch(table), table.c.correlation_id == _ids.c.value)
    last = select(func.max(table.c.sequence)).where(has_id, *conditions).correlate(_ids)
    return func.coalesce(last.scalar_subquery(), 0)


_last_rejected = _last_in_epoch(rejections, _is_rejected_session)
_is_repeated_session = duplicates.c.type == EventType.SESSION_STARTED.value

# For each of these `ids` two flags: `here`, the last session in this epoch was rejected;
# `elsewhere`, a session in another epoch was. That one asks two ranges instead of an inequality,
# which would read the thousands of rows of this epoch.
SELECT_REJECTED_SESSIONS = select(
    _ids.c.value.label("correlation_id"),
    and_(
        _last_rejected > _last_in_epoch(sessions),
        _last_rejected > _last_in_epoch(duplicates, _is_repeated_session),
    ).label("here"),
    or_(
        _exists(rejections, _is_rejected_session, rejections.c.epoch < _EPOCH),
        _exists(rejections, _is_rejected_session, rejections.c.epoch > _EPOCH),
    ).label("elsewhere"),
)

# Those of these `ids` under which this till sent a duplicate of another till's session, as a
# renamed till does.
SELECT_DUPLICATED_SESSIONS = select(_ids.c.value.label("correlation_id")).where(
    _exists(duplicates, is_agent(duplicates), _is_repeated_session)
)

_number = cast(_ids.c.value, BigInteger)
# The start of the last gap that begins at or below each of these numbers (`ids`): only that gap can
# hold the number. Not a range: numbers that lie a year apart can have thousands of gaps between.
SELECT_LAST_GAPS = (
    select(
        select(func.max(gaps.c.first_sequence))
        .where(is_epoch(gaps), gaps.c.first_sequence <= _number)
        .correlate(_ids)
        .scalar_subquery()
        .label("first_sequence")
    )
    # Without it the subquery has the numbers as a table of its own, and finds one gap for all.
    .select_from(_ids)
    .distinct()
)
SELECT_GAPS = select(gaps).where(
    is_epoch(gaps),
    gaps.c.first_sequence.in_(bindparam("numbers", type_=BigInteger, expanding=True)),
)

_ANSWER = (
    "till_id",
    "epoch",
    "sequence",
    "correlation_id",
    "occurred_at",
    "status",
    "email_address",
    "address_erased",
    "body",
    "digest",
)
_COLUMNS = ", ".join(f"email_answers.{name}" for name in _ANSWER)
# The answers that can equal one of the batch, each found by an index: by digest and address; by
# digest without an address; without a digest by the time; and if the address of the batch's own
# answer is erased, by the digest alone.
_ALIKE = (
    "email_answers.digest = {digest} AND email_answers.email_address = {address}",
    "email_answers.digest = {digest} AND email_answers.email_address IS NULL",
    "email_answers.digest IS NULL AND email_answers.occurred_at = {at}",
    "email_answers.digest = {digest} AND {erased}",
)


@cache
def select_alike_answers(dialect: str) -> TextualSelect:
    """Return a select of the answers that can equal one of these `keys`, `most` for each way.

    `keys` is a JSON array of objects with `id`, `digest`,
    `address`, `at` and `erased`. A plain join could be planned from the other side, and then
    reads all answers of the store.
    """
    statement = _alike_on_postgresql() if dialect == "postgresql" else _alike_on_sqlite()
    columns = (answers.c[name] for name in _ANSWER)
    return text(statement).columns(*(column(c.name, c.type) for c in columns))


def _alike_on_postgresql() -> str:
    key = {name: f"keys.{name}" for name in ("id", "digest", "address", "at", "erased")}
    alike = " UNION ALL ".join(f"({_alike(_COLUMNS, one, key)})" for one in _ALIKE)
    return (
        f"SELECT alike.* FROM json_to_recordset((:keys)::json) AS keys"  # noqa: S608 - our own names
        " (id text, digest text, address text, at timestamptz, erased boolean)"
        f" CROSS JOIN LATERAL ({alike}) AS alike"
    )


def _alike_on_sqlite() -> str:
    key = {name: f"keys.value ->> '{name}'" for name in ("id", "digest", "address", "at", "erased")}
    # CROSS JOIN keeps the order of the tables. Only an inner SELECT can have a LIMIT for each key.
    return " UNION ALL ".join(
        f"SELECT {_COLUMNS} FROM json_each(:keys) AS keys CROSS JOIN email_answers"  # noqa: S608 - our own names
        f" WHERE email_answers.rowid IN ({_alike('email_answers.rowid', one, key)})"
        for one in _ALIKE
    )


def _alike(selected: str, condition: str, key: Mapping[str, str]) -> str:
    return (
        f"SELECT {selected} FROM email_answers"  # noqa: S608 - our own names
        " WHERE email_answers.store_id = :of_store"
        f" AND email_answers.correlation_id = {key['id']} AND {condition.format(**key)} LIMIT :most"
    )
