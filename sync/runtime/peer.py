"""Address of the caller of an HTTP request."""

from aiohttp import web


def peer_address(request: web.BaseRequest) -> str:
    """Return the caller's IP address; `unknown` on a socket without one."""
    return request.remote or "unknown"
