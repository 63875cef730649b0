"""Requests to head office beside the batches: heartbeat and program terms."""

import asyncio
import re
from dataclasses import dataclass
from http import HTTPStatus

import msgspec

from sync.delivery.outcomes import Blocked, FailureCause, RetryLater
from sync.delivery.transports.central_client import CentralClient
from sync.delivery.transports.http_client import HttpResponse
from sync.delivery.transports.responses import decoded, outside_protocol
from sync.protocol.program_terms import ProgramTerms
from sync.protocol.terms_check import TermsFault, find_fault, shape_fault
from sync.protocol.wire import HEARTBEATS_PATH, PROGRAM_PATH, Heartbeat, HeartbeatAnswer

_AT_ONCE_SECONDS = 5.0
_HEADERS = {"Content-Type": "application/json"}
# An entity tag (RFC 9110, 8.8.3) in ASCII: it is stored, logged and sent back in a header.
_ETAG = re.compile(r'(W/)?"[!#-~]{0,250}"')
_MAX_SEQUENCE = 2**63 - 1
_heartbeat_answer = msgspec.json.Decoder(HeartbeatAnswer)
_program_terms = msgspec.json.Decoder(ProgramTerms)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


async def send_heartbeat(
    client: CentralClient, heartbeat: Heartbeat
) -> HeartbeatAnswer | Blocked | RetryLater | None:
    """Send one heartbeat and return the response.

    Returns `Blocked` if head office refuses this agent, `RetryLater` on a transient failure, None
    for an answer outside the protocol: heartbeats are periodic, so there is no retry. Except on a
    connection that was idle since the last one and breaks at once: a proxy closed it in this
    moment, and would again a minute later.
    """
    body, now = msgspec.json.encode(heartbeat), asyncio.get_running_loop().time
    began = now()
    response = await client.request("POST", HEARTBEATS_PATH, body=body, headers=_HEADERS)
    is_lost = isinstance(response, RetryLater) and response.cause is FailureCause.NO_RESPONSE
    if is_lost and now() < began + _AT_ONCE_SECONDS:
        response = await client.request("POST", HEARTBEATS_PATH, body=body, headers=_HEADERS)
    if not isinstance(response, HttpResponse):
        return response
    if response.status != HTTPStatus.OK:
        return None
    answer = decoded(_heartbeat_answer, response.body) if response.is_json else None
    return answer if answer is not None and _is_possible(answer) else None


def _is_possible(answer: HeartbeatAnswer) -> bool:
    numbers = [one.accepted_through for one in answer.epochs]
    numbers += [one.sequence for one in answer.rejected]
    return all(0 <= number <= _MAX_SEQUENCE for number in numbers)


@dataclass(frozen=True, slots=True)
class NewTerms:
    """Changed terms within their bounds; `etag` is None if head office sent no usable one."""

    etag: str | None
    terms: ProgramTerms


async def fetch_terms(
    client: CentralClient, etag: str | None
) -> NewTerms | TermsFault | Blocked | RetryLater | None:
    """Fetch the terms by conditional GET (RFC 9110, 13.1.2).

    Returns None if they are still those of `etag` (None: no terms known), and the fault of terms
    that cannot be used.
    """
    headers = {} if etag is None else {"If-None-Match": etag}
    response = await client.request("GET", PROGRAM_PATH, headers=headers)
    if not isinstance(response, HttpResponse):
        return response
    if response.status == HTTPStatus.NOT_MODIFIED and etag is not None:
        return None
    is_json = response.status == HTTPStatus.OK and response.is_json
    terms = _decode_terms(response.body) if is_json else None
    if terms is None:
        return outside_protocol(response, "not program terms")
    if isinstance(terms, TermsFault):
        return terms
    found = response.headers.get("ETag", "")
    return find_fault(terms) or NewTerms(found if _ETAG.fullmatch(found) else None, terms)


def _decode_terms(body: bytes) -> ProgramTerms | TermsFault | None:
    """Return the terms in `body`, or their fault; None if it has not one member of them."""
    try:
        return _program_terms.decode(body)
    except msgspec.ValidationError as error:
        members = decoded(_members, body) or {}
        is_ours = any(name in members for name in ProgramTerms.__struct_encode_fields__)
        return shape_fault(error) if is_ours else None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
