"""Fetches the program terms from head office by conditional GET (RFC 9110, 13.1.2)."""

from dataclasses import dataclass
from http import HTTPStatus

import msgspec

from sync.delivery.outcomes import Blocked, RetryLater
from sync.delivery.transports.central_client import CentralClient
from sync.delivery.transports.http_client import HttpResponse
from sync.delivery.transports.responses import decoded, no_such_endpoint, unexpected
from sync.protocol.program_terms import ProgramTerms
from sync.protocol.wire import PROGRAM_PATH

_MAX_ETAG = 256
_decoder = msgspec.json.Decoder(ProgramTerms)


@dataclass(frozen=True, slots=True)
class NewTerms:
    """Changed terms; `etag` is None if head office sent none."""

    etag: str | None
    terms: ProgramTerms


async def fetch_terms(
    client: CentralClient, etag: str | None
) -> NewTerms | Blocked | RetryLater | None:
    """Fetch the terms; return None if they are still those of `etag` (None: no terms known)."""
    headers = {} if etag is None else {"If-None-Match": etag}
    response = await client.request("GET", PROGRAM_PATH, headers=headers)
    if not isinstance(response, HttpResponse):
        return response
    match response.status:
        case HTTPStatus.NOT_MODIFIED if etag is not None:
            return None
        case HTTPStatus.OK if response.is_json:
            return _new_terms(response)
        case HTTPStatus.NOT_FOUND | HTTPStatus.METHOD_NOT_ALLOWED:
            return no_such_endpoint(response)
        case _:
            return unexpected(response, "not program terms")


def _new_terms(response: HttpResponse) -> NewTerms | RetryLater:
    terms = decoded(_decoder, response.body)
    if terms is None:
        return unexpected(response, "not program terms")
    etag = response.headers.get("ETag")
    return NewTerms(etag if etag and len(etag) <= _MAX_ETAG else None, terms)
