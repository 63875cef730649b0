"""Session cookies for readers, signed with the admin token. No I/O.

Stateless: receivers that share the token accept each other's cookies, and a new token invalidates
all of them.
"""

import hmac
from datetime import datetime, timedelta

COOKIE = "loyalty_hq_reader"
GOOD_FOR = timedelta(hours=12)
_MOST_DIGITS = 12


def new_pass(token: bytes, at: datetime) -> str:
    """Return a signed cookie value that expires `GOOD_FOR` after `at`."""
    return _signed(token, int((at + GOOD_FOR).timestamp()))


def is_good(shown: str, token: bytes, at: datetime) -> bool:
    """Return whether `shown` is signed with `token` and not expired at `at`."""
    until = shown.partition(".")[0]
    if not (until.isascii() and until.isdigit() and len(until) <= _MOST_DIGITS):
        return False
    made = _signed(token, int(until)).encode()
    is_ours = hmac.compare_digest(shown.encode("utf-8", "surrogateescape"), made)
    return is_ours and at.timestamp() < int(until)


def _signed(token: bytes, until: int) -> str:
    return f"{until}.{hmac.digest(token, f'reader until {until}'.encode(), 'sha256').hex()}"
