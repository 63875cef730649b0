"""Maps network exceptions to failures. Texts never contain an address, an id or a URL."""

import errno
import os
import ssl

import aiohttp

from sync.delivery.outcomes import FailureCause, RetryLater

# X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED of OpenSSL.
_WRONG_TIME = {9: "not yet valid", 10: "expired"}


class AnswerLost(aiohttp.ClientError):
    """The connection ended after the request was started; its outcome is unknown."""


# The first match counts: subclasses stand above their base classes.
_MEANINGS: tuple[tuple[type[Exception], FailureCause, str], ...] = (
    (aiohttp.ClientHttpProxyError, FailureCause.NO_CONNECTION, "the proxy refuses the connection"),
    (aiohttp.ClientProxyConnectionError, FailureCause.NO_CONNECTION, "the proxy cannot be reached"),
    (aiohttp.ClientConnectorDNSError, FailureCause.NO_LINE, "central's name cannot be resolved"),
    (aiohttp.ClientConnectorError, FailureCause.NO_CONNECTION, "no connection to central"),
    (
        aiohttp.ConnectionTimeoutError,
        FailureCause.NO_CONNECTION,
        "no connection to central in time",
    ),
    (TimeoutError, FailureCause.NO_ANSWER, "no answer in time"),
    (aiohttp.ClientPayloadError, FailureCause.NO_ANSWER, "the answer broke off"),
    (aiohttp.ClientResponseError, FailureCause.NOT_CENTRAL, "the answer is not HTTP"),
)
# A refused connection proves that a host answered; an unreachable network, that none was asked.
_WHOSE = {
    errno.ECONNREFUSED: FailureCause.AWAY,
    errno.ECONNRESET: FailureCause.AWAY,
    errno.ECONNABORTED: FailureCause.AWAY,
    errno.ENETUNREACH: FailureCause.NO_LINE,
    errno.EHOSTUNREACH: FailureCause.NO_LINE,
    errno.ENETDOWN: FailureCause.NO_LINE,
}


def storage_error_from(error: Exception) -> RetryLater:
    """Return the failure for `error`, raised by the HTTP client."""
    distrust = _distrust(error)
    if distrust is not None:
        return distrust
    for kind, trouble, detail in _MEANINGS:
        if isinstance(error, kind):
            return RetryLater(
                _whose(error, trouble), detail + _reason(error), http_status=_proxy_status(error)
            )
    return RetryLater(FailureCause.NO_ANSWER, "the connection ended before the answer")


def _distrust(error: Exception) -> RetryLater | None:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        error = error.certificate_error
    if isinstance(error, ssl.SSLCertVerificationError):
        return _wrong_time(error.verify_code) or RetryLater(
            FailureCause.TLS, f"central's certificate is not trusted: {error.verify_message}"
        )
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        why = getattr(error.os_error, "reason", None) or "it broke off"
        return RetryLater(FailureCause.TLS, f"no secure connection: {why}")
    return None


def _wrong_time(verify_code: int) -> RetryLater | None:
    if verify_code not in _WRONG_TIME:
        return None
    return RetryLater(
        FailureCause.CLOCK,
        f"central's certificate is {_WRONG_TIME[verify_code]} by this machine's clock, which may"
        " be wrong: set the clock, or have the certificate renewed",
    )


def _proxy_status(error: Exception) -> int | None:
    return error.status if isinstance(error, aiohttp.ClientHttpProxyError) else None


def _whose(error: Exception, trouble: FailureCause) -> FailureCause:
    """Return the cause by `errno` if known, else `trouble`; a proxy can be on either side."""
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return trouble
    return _WHOSE.get(_number(error), trouble)


def _reason(error: Exception) -> str:
    number = _number(error)
    return f": {os.strerror(number)}" if number > 0 else ""


def _number(error: Exception) -> int:
    """Return the `errno` of a failed connection, 0 if unknown.

    After trying several addresses asyncio sets `errno` only if it is the same for all.
    """
    number = error.os_error.errno if isinstance(error, aiohttp.ClientConnectorError) else None
    return number or 0
