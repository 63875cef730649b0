"""One-time link that signs in the browser of the person who starts head office on a terminal."""

import hmac
import ipaddress
from collections.abc import Callable

LIFETIME_SECONDS = 600.0
PATH = "/sign-in"
_IPV4 = 4


class SignInLink:
    """A random secret that is valid once, and for `LIFETIME_SECONDS`.

    It stands in the fragment of the URL, which a browser sends to no server, so it is in no log of
    a proxy either; the page posts it and takes it out of the address bar.
    """

    def __init__(self, secret: str, now_seconds: Callable[[], float]) -> None:
        self._secret: str | None = secret
        self._now_seconds = now_seconds
        self._expires_at = now_seconds() + LIFETIME_SECONDS

    def url(self, base_url: str) -> str:
        """Return the link. Print it to a person only, never log it."""
        return f"{base_url}{PATH}#{self._secret}"

    def redeem(self, given: str) -> bool:
        """Return whether `given` is the secret, not used before and not expired; it is used now."""
        if self._secret is None or self._now_seconds() >= self._expires_at:
            return False
        encoded = given.encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(encoded, self._secret.encode()):
            return False
        self._secret = None
        return True


def local_url(host: str, port: int, *, is_https: bool) -> str:
    """Return the URL of a server that listens on `host`, for a browser on the same machine."""
    address = ipaddress.ip_address(host)
    if address.is_unspecified:
        address = ipaddress.ip_address("127.0.0.1" if address.version == _IPV4 else "::1")
    name = str(address) if address.version == _IPV4 else f"[{address}]"
    return f"{'https' if is_https else 'http'}://{name}:{port}"
