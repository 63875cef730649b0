"""Sends a heartbeat to head office; its response says how far events have arrived."""

from http import HTTPStatus

import msgspec

from sync.delivery.outcomes import Blocked
from sync.delivery.transports.central_client import CentralClient
from sync.delivery.transports.http_client import HttpResponse
from sync.protocol.wire import HEARTBEATS_PATH, Heartbeat, HeartbeatAnswer

_HEADERS = {"Content-Type": "application/json"}
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(HeartbeatAnswer)


async def send_heartbeat(
    caller: CentralClient, heartbeat: Heartbeat
) -> HeartbeatAnswer | Blocked | None:
    """Send one heartbeat and return the response.

    Returns `Blocked` if head office refuses this agent, None on a transient failure: heartbeats
    are periodic, so there is no retry.
    """
    body = _encoder.encode(heartbeat)
    answer = await caller.request("POST", HEARTBEATS_PATH, body=body, headers=_HEADERS)
    if isinstance(answer, Blocked):
        return answer
    if not isinstance(answer, HttpResponse) or answer.status != HTTPStatus.OK or not answer.is_json:
        return None
    try:
        heard = _decoder.decode(answer.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return heard if all(one.accepted_through >= 0 for one in heard.epochs) else None
