"""Log of refused callers: the first of a peer at once, then one line a minute with their number.

Memory and lines are bounded: beyond some peers in a minute, all others share one line.
"""

import hashlib
import logging

from sync.runtime.printable import printable
from sync.runtime.summed_log import SummedLogs

MOST_PEERS = 64
OTHERS = "others"
_MAX_TEXT = 100
_FINGERPRINT_DIGITS = 8


class RefusalLog:
    """Logs one event for each peer. Not thread-safe; event loop only."""

    def __init__(self, logger: logging.Logger, event: str) -> None:
        self._logs = SummedLogs(logger, event, most_keys=MOST_PEERS)

    def note(self, peer: str, reason: str, **claims: str) -> None:
        """Log or count a refusal of `peer`; `claims` are the caller's own words, untrusted.

        The line of several refusals bears the claims of the last one.
        """
        named = {name: printable(text, _MAX_TEXT) for name, text in claims.items()}
        fields = {"peer": printable(peer, _MAX_TEXT), "reason": reason, **named}
        self._logs.count(peer, fields=fields, of_others={"peer": OTHERS}, times=1)

    def close(self) -> None:
        """Log the counts that are left. Idempotent."""
        self._logs.close()


def fingerprint(token: str) -> str:
    """Return the start of a token's SHA-256: it tells tokens apart, and none can be found by it.

    At head office it is the start of `tokens.token_hash`.
    """
    if not token:
        return "-"
    digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
    return digest[:_FINGERPRINT_DIGITS]
