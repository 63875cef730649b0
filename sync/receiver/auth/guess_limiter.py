"""Limits how often one peer can guess a token: a wait that doubles with each wrong one.

While a peer waits, its tokens are not looked at, not even a right one: a right one that passed
would make the wait useless. So the wait is short (`MAX_WAIT_SECONDS`), attempts during it do not
extend it, and the same wrong token again (a program with an old one) counts once. A right token
resets nothing: one program with it would help all guesses from its address. Not thread-safe; event
loop only.
"""

import hashlib
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from sync.runtime.network.connections import network_of

FIRST_WAIT_SECONDS = 1.0
MAX_WAIT_SECONDS = 32.0
_DOUBLINGS = int(math.log2(MAX_WAIT_SECONDS / FIRST_WAIT_SECONDS))
# A peer without a wrong token for this long starts again with the first wait.
_FORGET_SECONDS = 900.0
_MAX_PEERS = 4096


@dataclass(slots=True)
class _Failures:
    count: int
    last_at: float
    waits_until: float
    last_token: bytes


class GuessLimiter:
    """Counts wrong tokens by peer and owner, `_MAX_PEERS` of them; evicts the longest quiet.

    `key` makes the digests in memory useless elsewhere.
    """

    def __init__(self, now_seconds: Callable[[], float], key: bytes) -> None:
        self._now_seconds = now_seconds
        self._key = key
        self._peers: OrderedDict[tuple[str, object], _Failures] = OrderedDict()

    def wait_seconds(self, peer: str, of: object = None) -> int:
        """Return for how many seconds the peer must not try; 0 if it may.

        `of`: the owner of the guessed secret, if many honest callers may share one address (NAT).
        """
        found = self._peers.get((network_of(peer), of))
        return 0 if found is None else max(0, math.ceil(found.waits_until - self._now_seconds()))

    def record_failure(self, peer: str, token: str, of: object = None) -> None:
        """Count a wrong token; the peer's wait begins."""
        now, caller = self._now_seconds(), (network_of(peer), of)
        digest = hashlib.blake2b(token.encode("utf-8", "surrogateescape"), key=self._key).digest()
        before = self._peers.pop(caller, None)
        if before is None or now - before.last_at > _FORGET_SECONDS:
            before = _Failures(0, now, now, b"")
        is_new = digest != before.last_token
        count = before.count + is_new
        wait = FIRST_WAIT_SECONDS * (2 ** min(count - 1, _DOUBLINGS) if is_new else 1)
        self._peers[caller] = _Failures(count, now, max(before.waits_until, now + wait), digest)
        if len(self._peers) > _MAX_PEERS:
            self._peers.popitem(last=False)
