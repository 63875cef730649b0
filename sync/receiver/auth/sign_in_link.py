"""One-time sign-in link, printed on the terminal from which head office is started."""

import hmac
import ipaddress
from collections.abc import Callable

LIFETIME_SECONDS = 600.0
PATH = "/sign-in"
_IPV4 = 4


class SignInLink:
    """A random secret that is valid once, and for `LIFETIME_SECONDS`.

    The secret is the fragment of the URL. Browsers do not send fragments, so no proxy logs it. The
    page posts it and removes it from the address bar.
    """

    def __init__(self, secret: str, now_seconds: Callable[[], float]) -> None:
        self._secret: str | None = secret
        self._now_seconds = now_seconds
        self._expires_at = now_seconds() + LIFETIME_SECONDS

    def url(self, base_url: str) -> str:
        """Return the link. Print it on a terminal only; never log it."""
        return f"{base_url}{PATH}#{self._secret}"

    def redeem(self, given: str) -> bool:
        """Return whether `given` is the secret and still valid. A secret is valid once."""
        if self._secret is None or self._now_seconds() >= self._expires_at:
            return False
        encoded = given.encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(encoded, self._secret.encode()):
            return False
        self._secret = None
        return True


def local_url(host: str, port: int, *, is_https: bool) -> str:
    """Return the URL, for a browser on the same machine, of a server that listens on `host`."""
    address = ipaddress.ip_address(host)
    if address.is_unspecified:
        address = ipaddress.ip_address("127.0.0.1" if address.version == _IPV4 else "::1")
    name = str(address) if address.version == _IPV4 else f"[{address}]"
    return f"{'https' if is_https else 'http'}://{name}:{port}"
