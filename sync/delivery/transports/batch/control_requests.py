"""Requests to head office beside the batches: heartbeat and program terms."""

from dataclasses import dataclass
from http import HTTPStatus

import msgspec

from sync.delivery.outcomes import Blocked, RetryLater
from sync.delivery.transports.central_client import CentralClient
from sync.delivery.transports.http_client import HttpResponse
from sync.delivery.transports.responses import decoded, outside_protocol
from sync.protocol.program_terms import ProgramTerms
from sync.protocol.wire import HEARTBEATS_PATH, PROGRAM_PATH, Heartbeat, HeartbeatAnswer

_HEADERS = {"Content-Type": "application/json"}
_MAX_ETAG = 256
_heartbeat_answer = msgspec.json.Decoder(HeartbeatAnswer)
_program_terms = msgspec.json.Decoder(ProgramTerms)


async def send_heartbeat(
    client: CentralClient, heartbeat: Heartbeat
) -> HeartbeatAnswer | Blocked | None:
    """Send one heartbeat and return the response.

    Returns `Blocked` if head office refuses this agent, None on a transient failure: heartbeats
    are periodic, so there is no retry.
    """
    body = msgspec.json.encode(heartbeat)
    response = await client.request("POST", HEARTBEATS_PATH, body=body, headers=_HEADERS)
    if isinstance(response, Blocked):
        return response
    if isinstance(response, RetryLater) or response.status != HTTPStatus.OK:
        return None
    answer = decoded(_heartbeat_answer, response.body) if response.is_json else None
    is_valid = answer is not None and all(one.accepted_through >= 0 for one in answer.epochs)
    return answer if is_valid else None


@dataclass(frozen=True, slots=True)
class NewTerms:
    """Changed terms; `etag` is None if head office sent none."""

    etag: str | None
    terms: ProgramTerms


async def fetch_terms(
    client: CentralClient, etag: str | None
) -> NewTerms | Blocked | RetryLater | None:
    """Fetch the terms by conditional GET (RFC 9110, 13.1.2).

    Returns None if they are still those of `etag` (None: no terms known).
    """
    headers = {} if etag is None else {"If-None-Match": etag}
    response = await client.request("GET", PROGRAM_PATH, headers=headers)
    if not isinstance(response, HttpResponse):
        return response
    if response.status == HTTPStatus.NOT_MODIFIED and etag is not None:
        return None
    is_json = response.status == HTTPStatus.OK and response.is_json
    terms = decoded(_program_terms, response.body) if is_json else None
    if terms is None:
        return outside_protocol(response, "not program terms")
    etag = response.headers.get("ETag")
    return NewTerms(etag if etag and len(etag) <= _MAX_ETAG else None, terms)
