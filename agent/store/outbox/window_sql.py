"""SQL of the windows: pending events, and dead letters and deferred events to try again."""

from agent.store.db.cursor import LETTER_IS_SETTLED
from agent.store.outbox.settle import MAX_SPACING_SECONDS

# A time of a next try beyond it: the clock was set back since.
LONGEST_WAIT_US = 2 * MAX_SPACING_SECONDS * 1_000_000
# The columns of `check_event`, but for the position before them. Four of a `_Row` follow, and with
# a dead letter its last refusal and attempts.
_COLUMNS = """event.type, event.session_position, session.correlation_id,
    event.occurred_at_us, event.monotonic_us, event.boot_number, boot.boot_id, event.body,
    session.query_locale, email_answer.status, email_answer.address, event.checksum"""
_BESIDE = """
LEFT JOIN session ON session.position = event.session_position
LEFT JOIN boot ON boot.number = event.boot_number
LEFT JOIN email_answer ON email_answer.position = event.position
LEFT JOIN doubt ON doubt.destination = 'central' AND doubt.position = event.position
LEFT JOIN dead_letter AS dead_session ON dead_session.destination = 'central'
    AND dead_session.position = event.session_position AND event.session_position <> event.position
LEFT JOIN settled ON settled.destination = 'central' AND settled.position = event.position
"""
_IS_DUE = """{0}.retry_wanted = 1 AND (
    {0}.next_try_at_us <= :now_us OR {0}.next_try_at_us > :now_us + :longest_wait_us
)"""
_IS_DEFERRED = "{0}.stuck_since_us IS NOT NULL"
# Also a dead letter after a failed retry; not those that are tried in the same pass, before it.
_IS_TRIED_LATER = f"({_IS_DEFERRED} OR {{0}}.retry_wanted = 1) AND NOT ({_IS_DUE})"
# `CROSS JOIN`: from the session's answers to their rows, however many events are deferred.
_IS_BEHIND = """{is_session} OR EXISTS (
    SELECT 1 FROM email_answer AS before CROSS JOIN dead_letter AS earlier
        ON earlier.destination = 'central' AND earlier.position = before.position
    WHERE before.session_position = event.session_position
        AND before.position < event.position AND {is_earlier}
)"""
# The first condition is evaluated once; the others only if there are deferred events.
_IS_WAITING = f"""CASE WHEN NOT EXISTS (
    SELECT 1 FROM dead_letter WHERE destination = 'central' AND stuck_since_us IS NOT NULL
) OR event.session_position = event.position THEN FALSE ELSE {
    _IS_BEHIND.format(
        is_session=_IS_DEFERRED.format("dead_session"), is_earlier=_IS_DEFERRED.format("earlier")
    )
} END"""  # noqa: S608 - contains no value
_IS_RETRY_WAITING = f"""event.session_position <> event.position AND ({
    _IS_BEHIND.format(
        is_session=_IS_TRIED_LATER.format("dead_session"),
        is_earlier=_IS_TRIED_LATER.format("earlier"),
    )
})"""
PENDING = f"""
SELECT event.position, {_COLUMNS},
    doubt.position IS NOT NULL OR event.position BETWEEN :attempting_from AND :attempting_through,
    dead_session.position IS NOT NULL AND dead_session.stuck_since_us IS NULL,
    {_IS_WAITING}, FALSE
FROM event {_BESIDE}
WHERE event.position > max(:after, :watermark) AND event.position <= :last
    AND settled.position IS NULL
ORDER BY event.position LIMIT :max_events
"""  # noqa: S608 - contains no value


# Only a dead letter's own attempts leave it in doubt, and a rejected session is no reason to
# reject it while that session is retried, too. A dead letter that is pending again since a rewind
# is sent in its turn, after the events before it that central lacks.
def _set_apart(is_wanted: str) -> str:
    return f"""
SELECT dead_letter.position, {_COLUMNS},
    doubt.position IS NOT NULL,
    dead_session.retry_wanted IS 0 AND dead_session.stuck_since_us IS NULL,
    {_IS_RETRY_WAITING}, EXISTS (
        SELECT 1 FROM email_answer AS later
        WHERE later.session_position = event.session_position AND later.position > event.position
            AND event.session_position <> event.position
            AND (later.position <= :watermark OR EXISTS (
                SELECT 1 FROM settled WHERE destination = 'central' AND position = later.position
            ))
            AND NOT EXISTS (
                SELECT 1 FROM dead_letter AS dead
                WHERE dead.destination = 'central' AND dead.position = later.position
            )
    ),
    dead_letter.error_code, dead_letter.error_message, dead_letter.http_status,
    dead_letter.stuck_since_us, dead_letter.attempts
FROM dead_letter LEFT JOIN event ON event.position = dead_letter.position {_BESIDE}
WHERE dead_letter.destination = 'central' AND dead_letter.position > :after
    AND {is_wanted} AND dead_letter.discarded_at_us IS NULL
    AND dead_letter.position <= :last AND {LETTER_IS_SETTLED}
ORDER BY dead_letter.position LIMIT :max_events
"""  # noqa: S608 - contains no value


RETRIES = _set_apart(_IS_DUE.format("dead_letter"))
# Due or not, and those that wait behind others.
IS_UNDELIVERED = "(dead_letter.retry_wanted = 1 OR dead_letter.stuck_since_us IS NOT NULL)"
UNDELIVERED_APART = _set_apart(IS_UNDELIVERED)
HAS_LOST = "SELECT 1 FROM lost_captures WHERE epoch = ?"
SETTLED_BETWEEN = """
SELECT position FROM settled
WHERE destination = 'central' AND position BETWEEN ? AND ? AND typeof(position) = 'integer'
"""
