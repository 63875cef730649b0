"""What a browser carries once somebody has signed in with the readers' token. No I/O.

Whoever knows the token can make and check such a pass: receivers side by side share nothing
else, and a new token ends all passes.
"""

import hmac
from datetime import datetime, timedelta

COOKIE = "loyalty_hq_reader"
GOOD_FOR = timedelta(hours=12)
_MOST_DIGITS = 12


def new_pass(token: bytes, at: datetime) -> str:
    """Return a pass that is good from `at` on, for `GOOD_FOR`."""
    return _signed(token, int((at + GOOD_FOR).timestamp()))


def is_good(shown: str, token: bytes, at: datetime) -> bool:
    """Tell whether `shown` is a pass made with `token`, and `at` is not past its end."""
    until = shown.partition(".")[0]
    if not (until.isascii() and until.isdigit() and len(until) <= _MOST_DIGITS):
        return False
    made = _signed(token, int(until)).encode()
    is_ours = hmac.compare_digest(shown.encode("utf-8", "surrogateescape"), made)
    return is_ours and at.timestamp() < int(until)


def _signed(token: bytes, until: int) -> str:
    return f"{until}.{hmac.digest(token, f'reader until {until}'.encode(), 'sha256').hex()}"
