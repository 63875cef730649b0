"""How epochs ended: by the word of their machine, or without one."""

from collections.abc import Callable
from enum import StrEnum
from typing import Any

import sqlalchemy as sa


def is_unconfirmed(epochs: sa.FromClause) -> sa.ColumnElement[bool]:
    """Return the condition of the index `agents_unconfirmed`; `epochs` are rows of `agents`."""
    return sa.and_(
        epochs.c.followed_at.is_not(None),
        epochs.c.is_current.is_(None),
        epochs.c.ended_through.is_(None),
        epochs.c.acknowledged_at.is_(None),
    )


class EpochEnd(StrEnum):
    """How an epoch ended that another one has followed; the values are those of the JSON API.

    `UNRECORDED`: before head office recorded it, and no heartbeat has named the epoch since.
    """

    CONFIRMED = "confirmed"
    UNCONFIRMED = "unconfirmed"
    ACKNOWLEDGED = "acknowledged"
    UNRECORDED = "unrecorded"


def epoch_end(column: Callable[[str], Any]) -> EpochEnd | None:
    """Return how an epoch ended; None if it is the till's current one.

    `column` returns a column of its row in `agents`.
    """
    if column("is_current"):
        return None
    if column("ended_through") is not None:
        return EpochEnd.CONFIRMED
    if column("acknowledged_at") is not None:
        return EpochEnd.ACKNOWLEDGED
    return EpochEnd.UNRECORDED if column("followed_at") is None else EpochEnd.UNCONFIRMED
