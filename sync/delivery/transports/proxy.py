"""Access to an HTTP proxy that wants a user and a password (RFC 9110, 11.7; RFC 7617)."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from pathlib import Path

import aiohttp

from sync.delivery.outcomes import Blocked, BlockedReason
from sync.delivery.transports.auth import Headers, secret_of

WANTS_PASSWORD = HTTPStatus.PROXY_AUTHENTICATION_REQUIRED
# To CONNECT, which head office does not see. Tinyproxy answers a wrong password with 401.
REFUSES_TUNNEL = frozenset(
    {
        WANTS_PASSWORD,
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.METHOD_NOT_ALLOWED,
    }
)
_CHALLENGE = "proxy-authenticate"
# Other text of a response is never shown.
_OTHER_SCHEMES = ("Negotiate", "NTLM", "Digest", "Bearer")


def proxy_headers(user: str, password_file: Path | None) -> Headers | Blocked:
    """Return the headers for the proxy; a `Blocked` that names an unusable file.

    The file is read again when it changes.
    """
    if not user or password_file is None:
        return {}
    password = secret_of(password_file)
    if isinstance(password, Blocked):
        return password
    return {"Proxy-Authorization": aiohttp.encode_basic_auth(user, password)}


def refusal(
    headers: Mapping[str, str] | None,
    status: int,
    *,
    proxy: str,
    user: str,
    password_file: Path | None,
) -> Blocked:
    """Return the hold after a response with one of these codes; the rest is as configured."""
    fault = secret_of(password_file, is_refused=True) if password_file else None
    if isinstance(fault, Blocked):
        return fault
    other = ", ".join(_other_schemes(headers or {}))
    if not proxy:
        detail = (
            "a proxy in between wants a user and a password: set proxy, proxy_user and"
            " proxy_password_file"
        )
    elif status in {HTTPStatus.FORBIDDEN, HTTPStatus.METHOD_NOT_ALLOWED}:
        detail = "the proxy does not allow this connection: ask whoever runs it to allow it"
    elif other:
        detail = f"the proxy takes no password by HTTP Basic, only {other}: ask for access by Basic"
    elif not user:
        detail = "the proxy wants a user and a password: set proxy_user and proxy_password_file"
    else:
        detail = (
            "the proxy rejects the user or the password: check proxy_user and proxy_password_file"
        )
    return Blocked(BlockedReason.PROXY, detail, status)


def _other_schemes(headers: Mapping[str, str]) -> Iterable[str]:
    """Return the authentication schemes that the proxy offers, if HTTP Basic is not among them."""
    names = [value.lower() for name, value in headers.items() if name.lower() == _CHALLENGE]
    offered = ",".join(names)
    return [] if "basic" in offered else [one for one in _OTHER_SCHEMES if one.lower() in offered]
