"""The time between two timestamps, in the SQL of either database."""

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class SecondsBetween(FunctionElement[float]):
    """Seconds from one timestamp to another, in either database's SQL."""

    inherit_cache = True
    type = sa.Float()


@compiles(SecondsBetween)
def _by_epoch(element: SecondsBetween, compiler: SQLCompiler, **options: object) -> str:
    first, last = (compiler.process(one, **options) for one in element.clauses)
    return f"CAST(EXTRACT(epoch FROM {last}) - EXTRACT(epoch FROM {first}) AS FLOAT)"


@compiles(SecondsBetween, "sqlite")
def _by_julian_day(element: SecondsBetween, compiler: SQLCompiler, **options: object) -> str:
    first, last = (compiler.process(one, **options) for one in element.clauses)
    # A Julian day number is exact to about 40 microseconds.
    return f"round((julianday({last}) - julianday({first})) * 86400, 3)"
