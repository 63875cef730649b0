"""Sends a heartbeat to head office; its response says how far events have arrived."""

from http import HTTPStatus

import msgspec

from sync.delivery.outcomes import Blocked, RetryLater
from sync.delivery.transports.central_client import CentralClient
from sync.delivery.transports.responses import decoded
from sync.protocol.wire import HEARTBEATS_PATH, Heartbeat, HeartbeatAnswer

_HEADERS = {"Content-Type": "application/json"}
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(HeartbeatAnswer)


async def send_heartbeat(
    client: CentralClient, heartbeat: Heartbeat
) -> HeartbeatAnswer | Blocked | None:
    """Send one heartbeat and return the response.

    Returns `Blocked` if head office refuses this agent, None on a transient failure: heartbeats
    are periodic, so there is no retry.
    """
    body = _encoder.encode(heartbeat)
    response = await client.request("POST", HEARTBEATS_PATH, body=body, headers=_HEADERS)
    if isinstance(response, Blocked):
        return response
    if isinstance(response, RetryLater) or response.status != HTTPStatus.OK:
        return None
    answer = decoded(_decoder, response.body) if response.is_json else None
    is_valid = answer is not None and all(one.accepted_through >= 0 for one in answer.epochs)
    return answer if is_valid else None
