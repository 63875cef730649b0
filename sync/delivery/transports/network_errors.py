"""Maps network exceptions to failures. Texts never contain an address, an id or a URL."""

import errno
import os
import ssl

import aiohttp

from sync.delivery.outcomes import FailureCause, RetryLater

# X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED of OpenSSL.
_WRONG_TIME = {9: "not yet valid", 10: "expired"}


class ResponseLost(aiohttp.ClientError):
    """The connection ended after the request was started; its outcome is unknown."""


# The first match counts: subclasses stand above their base classes.
_MEANINGS: tuple[tuple[type[Exception], FailureCause, str], ...] = (
    (aiohttp.ClientHttpProxyError, FailureCause.NO_CONNECTION, "the proxy refuses the connection"),
    (aiohttp.ClientProxyConnectionError, FailureCause.NO_CONNECTION, "the proxy cannot be reached"),
    (
        aiohttp.ClientConnectorDNSError,
        FailureCause.NETWORK_DOWN,
        "central's name cannot be resolved",
    ),
    (aiohttp.ClientConnectorError, FailureCause.NO_CONNECTION, "no connection to central"),
    (
        aiohttp.ConnectionTimeoutError,
        FailureCause.NO_CONNECTION,
        "no connection to central in time",
    ),
    (TimeoutError, FailureCause.NO_RESPONSE, "no answer in time"),
    (aiohttp.ClientPayloadError, FailureCause.NO_RESPONSE, "the answer broke off"),
    (aiohttp.ClientResponseError, FailureCause.UNEXPECTED_RESPONSE, "the answer is not HTTP"),
)
# A refused connection proves that a host answered; an unreachable network, that none was asked.
_WHOSE = {
    errno.ECONNREFUSED: FailureCause.CENTRAL_DOWN,
    errno.ECONNRESET: FailureCause.CENTRAL_DOWN,
    errno.ECONNABORTED: FailureCause.CENTRAL_DOWN,
    errno.ENETUNREACH: FailureCause.NETWORK_DOWN,
    errno.EHOSTUNREACH: FailureCause.NETWORK_DOWN,
    errno.ENETDOWN: FailureCause.NETWORK_DOWN,
}


def failure_from(error: Exception) -> RetryLater:
    """Return the failure for `error`, raised by the HTTP client."""
    distrust = _distrust(error)
    if distrust is not None:
        return distrust
    for kind, cause, detail in _MEANINGS:
        if isinstance(error, kind):
            return RetryLater(
                _whose(error, cause), detail + _reason(error), http_status=_proxy_status(error)
            )
    return RetryLater(FailureCause.NO_RESPONSE, "the connection ended before the answer")


def _distrust(error: Exception) -> RetryLater | None:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        error = error.certificate_error
    if isinstance(error, ssl.SSLCertVerificationError):
        return _wrong_time(error.verify_code) or RetryLater(
            FailureCause.UNTRUSTED_CERTIFICATE,
            f"central's certificate is not trusted: {error.verify_message}",
        )
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        why = getattr(error.os_error, "reason", None) or "it broke off"
        return RetryLater(FailureCause.UNTRUSTED_CERTIFICATE, f"no secure connection: {why}")
    return None


def _wrong_time(verify_code: int) -> RetryLater | None:
    if verify_code not in _WRONG_TIME:
        return None
    return RetryLater(
        FailureCause.WRONG_CLOCK,
        f"central's certificate is {_WRONG_TIME[verify_code]} by this machine's clock, which may"
        " be wrong: set the clock, or have the certificate renewed",
    )


def _proxy_status(error: Exception) -> int | None:
    return error.status if isinstance(error, aiohttp.ClientHttpProxyError) else None


def _whose(error: Exception, cause: FailureCause) -> FailureCause:
    """Return the cause by `errno` if known, else `cause`; a proxy can be on either side."""
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return cause
    return _WHOSE.get(_number(error), cause)


def _reason(error: Exception) -> str:
    number = _number(error)
    return f": {os.strerror(number)}" if number > 0 else ""


def _number(error: Exception) -> int:
    """Return the `errno` of a failed connection, 0 if unknown.

    After trying several addresses asyncio sets `errno` only if it is the same for all.
    """
    number = error.os_error.errno if isinstance(error, aiohttp.ClientConnectorError) else None
    return number or 0
