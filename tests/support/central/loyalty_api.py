"""Backend side of the loyalty API: a session, then the answers to its e-mail prompt."""

import json
from urllib.parse import unquote

from sync.protocol.wire import EventType
from tests.support.central.batch_protocol import Refuse
from tests.support.central.faults import Answer, error
from tests.support.central.ledger import Ledger, Record

SESSIONS = "/client/users/anonymous/sessions"
_USERS, _EMAIL = "/client/users/", "/profile/email"


def record_of(method: str, path: str, query_locale: str | None, body: bytes) -> Record | None:
    """Return the record in a request; None if it is neither of the two calls."""
    if method == "POST" and path == SESSIONS:
        correlation_id = json.loads(body)["correlationId"]
        return Record(EventType.SESSION_STARTED, correlation_id, body, query_locale)
    if method == "PUT" and path.startswith(_USERS) and path.endswith(_EMAIL):
        correlation_id = unquote(path.removeprefix(_USERS).removesuffix(_EMAIL))
        return Record(EventType.EMAIL_ANSWERED, correlation_id, body)
    return None


def accept(ledger: Ledger, record: Record, refuse: Refuse, *, conflicts: bool) -> Answer:
    """Accept `record`; if `conflicts`, answer a repeat with an error."""
    if conflicts and ledger.has(record):
        ledger.repeats += 1
        return error(409, "CONFLICT", "This record has already been taken")
    refusal = refuse(record.type, record.correlation_id) or ledger.accept(record)
    if refusal is not None:
        return error(400, refusal.code, refusal.message)
    if record.type is EventType.EMAIL_ANSWERED:
        return Answer.of(200, {"message": "Email option updated."})
    return Answer.of(200, _session(record))


def _session(record: Record) -> dict[str, object]:
    return {
        "loyaltyId": "anonymous",
        "membershipType": "N",
        "status": "NO_CARD",
        "prompt": "REQUEST_EMAIL",
        "isValid": True,
        "promptMessage": f"Would you like to join? ({record.query_locale})",
        "receiptMessage": "Join to claim your points.",
        "pointsBalance": 0,
        "userMaxRedeemDollars": 0,
        "redemptionRules": {
            "minRedeemPoints": 10_000,
            "minRedeemAmount": 10,
            "maxRedeemPoints": 500_000,
            "maxRedeemAmount": 500,
            "redeemIncrementPoints": 10_000,
            "redeemIncrementAmount": 10,
            "currency": "CAD",
        },
        "sessionCorrelationId": record.correlation_id,
        "receiptPreference": "UNKNOWN",
    }
