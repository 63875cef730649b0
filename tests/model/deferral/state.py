"""The rows of an agent's database that tell what became of each capture."""

from pathlib import Path
from typing import NamedTuple

from tests.support.agent.store import query

# By the number that is in each capture.
_ROWS = """
SELECT json_extract(CAST(event.body AS TEXT), '$.n'),
       event.position > coalesce(destination.watermark, 0) AND settled.position IS NULL,
       dead_letter.error_code,
       dead_letter.stuck_since_us IS NOT NULL,
       dead_letter.discarded_at_us IS NOT NULL,
       dead_letter.retry_wanted = 1,
       dead_letter.attempts,
       email_answer.address IS NOT NULL
FROM event
LEFT JOIN destination ON destination.name = 'central'
LEFT JOIN settled ON settled.position = event.position
LEFT JOIN dead_letter ON dead_letter.position = event.position
LEFT JOIN email_answer ON email_answer.position = event.position
"""


class Held(NamedTuple):
    """A capture in the database. `code`: of its row beside the dead letters, if it has one."""

    is_pending: bool
    code: str | None
    is_deferred: bool
    is_discarded: bool
    is_retried: bool
    attempts: int
    has_address: bool

    @property
    def is_dead(self) -> bool:
        """Whether it is a dead letter that waits for a decision."""
        return self.code is not None and not self.is_deferred and not self.is_discarded

    @property
    def is_undelivered(self) -> bool:
        """Whether it waits for a verdict."""
        return self.is_pending or self.is_deferred


def read_held(directory: Path) -> dict[int, Held]:
    """Return all captures by their number."""
    found = {}
    for number, is_pending, code, *flags, attempts, has_address in query(directory, _ROWS):
        deferred, discarded, retried = map(bool, flags)
        found[int(str(number))] = Held(
            bool(is_pending),
            None if code is None else str(code),
            deferred,
            discarded,
            retried,
            int(str(attempts or 0)),
            bool(has_address),
        )
    return found
