"""Central's own answer to a session start, as far as a till may be told it again."""

import msgspec


class CentralRules(msgspec.Struct, frozen=True, rename="camel"):
    """The limits of redeeming points (`reference/start-anonymous-session.txt`)."""

    min_redeem_points: int | float
    min_redeem_amount: int | float
    max_redeem_points: int | float
    max_redeem_amount: int | float
    redeem_increment_points: int | float
    redeem_increment_amount: int | float
    currency: str


class CentralAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """All members but the correlation id, in the page's order; others are not passed on."""

    loyalty_id: str
    membership_type: str
    status: str
    prompt: str
    is_valid: bool
    prompt_message: str
    receipt_message: str
    points_balance: int | float
    user_max_redeem_dollars: int | float
    redemption_rules: CentralRules
    session_correlation_id: str
    receipt_preference: str


_decoder = msgspec.json.Decoder(CentralAnswer)


def read_central_answer(body: bytes) -> CentralAnswer | None:
    """Return the answer in `body`, JSON, its correlation id made empty; None if it is not one."""
    try:
        answer = _decoder.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    if b"\\u0000" in msgspec.json.encode(answer):
        return None
    return msgspec.structs.replace(answer, session_correlation_id="")
