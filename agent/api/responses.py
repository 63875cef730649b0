"""Responses of the API: JSON, common headers, and the types of members in their schemas."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

import msgspec
from aiohttp import web

from agent.capture.session_start import MAX_CORRELATION_ID_CODE_POINTS
from agent.facts import Receipt
from sync.protocol.rfc3339 import us_to_rfc3339

REQUEST_ID = "x-amzn-RequestId"
RECEIPT = "Loyalty-Receipt"
# As in the examples of the loyalty API's documentation (`docs/till-api.md`).
COMMON_HEADERS = {
    "Server": "loyalty-agent",
    "Cache-Control": "no-cache, no-store, must-revalidate",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "sameorigin",
    "Referrer-Policy": "no-referrer",
    "X-XSS-Protection": "1;mode=block",
}
JSON_TYPE = {"Content-Type": "application/json"}

Time = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
Epoch = Annotated[str, msgspec.Meta(extra_json_schema={"format": "uuid"})]
Sequence = Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]
Count = Annotated[int, msgspec.Meta(ge=0)]
CorrelationId = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=MAX_CORRELATION_ID_CODE_POINTS,
        pattern=r"^[^\u0000-\u001f\u007f-\u009f]+$",
        description="Recommended: a GUID. Not blank, no control character, not . or ..",
    ),
]


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The answer to a recorded capture, and its receipt."""

    body: bytes
    receipt: Receipt

    def response(self) -> web.Response:
        """Return it as a regular response."""
        return web.Response(body=self.body, headers=JSON_TYPE | {RECEIPT: str(self.receipt)})


def json_response(content: object, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    """Return `content` as JSON."""
    return web.Response(status=status, body=msgspec.json.encode(content), headers=JSON_TYPE)


def timestamp(time_us: int) -> str:
    """Format microseconds since 1970 UTC as RFC 3339 with milliseconds."""
    return us_to_rfc3339(time_us, "milliseconds")
