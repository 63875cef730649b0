"""Conditions of the ledger's statements: rows of an agent, of an epoch, of stores, in service.

`params_for` binds agent and epoch. They run on SQLite and PostgreSQL.
"""

from collections.abc import Collection, Mapping

from sqlalchemy import BigInteger, ColumnElement, Table, Text, and_, bindparam, exists, true
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from sync.receiver.auth.tokens import AgentName
from sync.receiver.db.columns import JsonTexts
from sync.receiver.db.tables import agents

_STORE, _TILL = bindparam("of_store", type_=Text), bindparam("of_till", type_=Text)
_EPOCH = bindparam("of_epoch", type_=Text)
FIRST, LAST = bindparam("first", type_=BigInteger), bindparam("last", type_=BigInteger)
# An equality, though the column is true or NULL: so SQLite, which has no statistics, prefers the
# index of the current epochs to any other that begins with the store.
IS_CURRENT = agents.c.is_current == true()


class Among(FunctionElement[bool]):
    """Condition: the column equals one of several texts, bound as one parameter.

    With one parameter per text, each batch would need a different statement. Further arguments are
    scalar subqueries, whose texts count as well: with an OR, SQLite would use no index for either.
    The element has no type: SQLAlchemy appends `= 1` to a boolean on SQLite, and then no index is
    used.
    """

    inherit_cache = True


@compiles(Among)
def _any(element: Among, compiler: SQLCompiler, **options: object) -> str:
    column, texts, *more = (compiler.process(one, **options) for one in element.clauses)
    others = "".join(f" UNION ALL SELECT {one}" for one in more)
    # ARRAY(…) makes one index scan; a plain subquery would be planned as a join.
    return f"{column} = ANY (ARRAY(SELECT json_array_elements_text(({texts})::json){others}))"


@compiles(Among, "sqlite")
def _in_json(element: Among, compiler: SQLCompiler, **options: object) -> str:
    column, texts, *more = (compiler.process(one, **options) for one in element.clauses)
    others = "".join(f" UNION ALL SELECT {one}" for one in more)
    # Only names of our own tables and columns are interpolated.
    return f"{column} IN (SELECT value FROM json_each({texts}){others})"  # noqa: S608 - see above


def among(column: ColumnElement[str], parameter: str) -> Among:
    """Return the condition that the column equals one of the texts bound to `parameter`."""
    return Among(column, bindparam(parameter, type_=JsonTexts))


def in_stores(column: ColumnElement[str], stores: Collection[str]) -> ColumnElement[bool] | Among:
    """Return the condition that the column is one of these stores.

    An equality on a single store lets the planner use the index on that store.
    """
    if len(stores) == 1:
        return column == next(iter(stores))
    return Among(column, bindparam(None, stores, type_=JsonTexts))


def params_for(name: AgentName, epoch: str | None = None) -> Mapping[str, str | None]:
    """Return the parameters that bind a statement to this agent, or to one epoch of it."""
    return {"of_store": name.store_id, "of_till": name.till_id, "of_epoch": epoch}


def is_agent(table: Table) -> ColumnElement[bool]:
    """Return the condition for the rows of one agent."""
    return and_(table.c.store_id == _STORE, table.c.till_id == _TILL)


def is_epoch(table: Table) -> ColumnElement[bool]:
    """Return the condition for the rows of one epoch."""
    return and_(is_agent(table), table.c.epoch == _EPOCH)


def is_in_service(table: Table) -> ColumnElement[bool]:
    """Return the condition for the rows of tills that are not retired."""
    if table is agents:
        return agents.c.retired_at.is_(None)
    # The current epoch is one row of an index; all epochs of a till are retired together.
    is_till = and_(agents.c.till_id == table.c.till_id, IS_CURRENT)
    is_retired = (is_till, agents.c.retired_at.is_not(None))
    return ~exists().where(agents.c.store_id == table.c.store_id, *is_retired)


def in_range(table: Table) -> ColumnElement[bool]:
    """Return the condition for the rows under the numbers `first` to `last` of one epoch."""
    return and_(is_epoch(table), table.c.sequence.between(FIRST, LAST))
