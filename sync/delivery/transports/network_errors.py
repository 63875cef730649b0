"""Maps network exceptions to failures. Texts never contain an address, an id or a URL."""

import errno
import os
import re
import ssl

import aiohttp

from sync.delivery.outcomes import FailureCause, RetryLater
from sync.delivery.transports.response_head import UnusableResponse

# X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED of OpenSSL.
_OUTSIDE_VALIDITY = {9: "not yet valid", 10: "expired"}


class ResponseLost(aiohttp.ClientError):
    """The connection ended after the request was started; its outcome is unknown."""


# The first match counts: subclasses stand above their base classes. {} is the server asked.
_FAILURES: tuple[tuple[type[Exception], FailureCause, str], ...] = (
    (aiohttp.ClientHttpProxyError, FailureCause.NO_CONNECTION, "the proxy refuses the connection"),
    (aiohttp.ClientProxyConnectionError, FailureCause.NO_CONNECTION, "the proxy cannot be reached"),
    (
        aiohttp.ClientConnectorDNSError,
        FailureCause.NETWORK_DOWN,
        "{}'s name cannot be resolved",
    ),
    (aiohttp.ClientConnectorError, FailureCause.NO_CONNECTION, "no connection to {}"),
    (
        aiohttp.ConnectionTimeoutError,
        FailureCause.NO_CONNECTION,
        "no connection to {} in time",
    ),
    (TimeoutError, FailureCause.NO_RESPONSE, "no response in time"),
    (aiohttp.ClientPayloadError, FailureCause.NO_RESPONSE, "the response broke off"),
    (UnusableResponse, FailureCause.UNEXPECTED_RESPONSE, ""),
    (aiohttp.ClientResponseError, FailureCause.UNEXPECTED_RESPONSE, "the response is not HTTP"),
    (Exception, FailureCause.NO_RESPONSE, "the connection ended before the response"),
)
_UNDECODABLE = "Can not decode content-encoding"
# The parser's own words. The text after them comes from the response and is never shown.
_PARSER_REASON = re.compile(r"(?!Bad status line)([A-Za-z' -]+):\n\n")
# A refused connection proves that a host answered; an unreachable network, that none was asked.
_BY_ERRNO = {
    errno.ECONNREFUSED: FailureCause.CENTRAL_DOWN,
    errno.ECONNRESET: FailureCause.CENTRAL_DOWN,
    errno.ECONNABORTED: FailureCause.CENTRAL_DOWN,
    errno.ENETUNREACH: FailureCause.NETWORK_DOWN,
    errno.EHOSTUNREACH: FailureCause.NETWORK_DOWN,
    errno.ENETDOWN: FailureCause.NETWORK_DOWN,
}


def failure_from(error: Exception, server: str = "head office") -> RetryLater:
    """Return the failure for `error`, raised by the HTTP client; `server` names who was asked."""
    tls_failure = _tls_failure(error, server)
    if tls_failure is not None:
        return tls_failure
    if _UNDECODABLE in str(error):
        detail = "the response is compressed in a way that cannot be read (Content-Encoding)"
        return RetryLater(FailureCause.UNEXPECTED_RESPONSE, detail)
    cause, detail = next(one[1:] for one in _FAILURES if isinstance(error, one[0]))
    detail = detail.format(server)
    if cause is FailureCause.UNEXPECTED_RESPONSE:
        detail = _malformed(error) or detail
    # After trying several addresses asyncio sets `errno` only if it is the same for all.
    number = error.os_error.errno if isinstance(error, aiohttp.ClientConnectorError) else None
    if number is not None and number > 0:
        detail = f"{detail}: {os.strerror(number)}"
        if not isinstance(error, aiohttp.ClientProxyConnectionError):  # a proxy is on either side
            cause = _BY_ERRNO.get(number, cause)
    status = error.status if isinstance(error, aiohttp.ClientHttpProxyError) else None
    return RetryLater(cause, detail, http_status=status)


def _malformed(error: Exception) -> str | None:
    """Return what is wrong with the response; None if it is not one of HTTP."""
    if isinstance(error, UnusableResponse):
        return f"{error}, probably of a gateway in between"
    reason = _PARSER_REASON.match(getattr(error, "message", ""))
    return f"the response is malformed HTTP: {reason[1]}" if reason else None


def _tls_failure(error: Exception, server: str) -> RetryLater | None:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        error = error.certificate_error
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _OUTSIDE_VALIDITY:
            detail = (
                f"{server}'s certificate is {_OUTSIDE_VALIDITY[error.verify_code]} by this"
                " machine's clock: set the clock if it is wrong, otherwise renew the certificate"
            )
            return RetryLater(FailureCause.WRONG_CLOCK, detail)
        detail = f"{server}'s certificate is not trusted: {error.verify_message}"
        return RetryLater(FailureCause.UNTRUSTED_CERTIFICATE, detail)
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        reason = getattr(error.os_error, "reason", None) or "it broke off"
        return RetryLater(
            FailureCause.UNTRUSTED_CERTIFICATE, f"no TLS connection to {server}: {reason}"
        )
    return None
