"""Parse the answer of central to a session start, without its session-specific members."""

import msgspec


class CentralRules(msgspec.Struct, frozen=True, rename="camel"):
    """Redemption limits (`reference/start-anonymous-session.txt`)."""

    min_redeem_points: int | float
    min_redeem_amount: int | float
    max_redeem_points: int | float
    max_redeem_amount: int | float
    redeem_increment_points: int | float
    redeem_increment_amount: int | float
    currency: str


class CentralAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """The program terms in the answer. The card balance belongs to one session and is ignored."""

    prompt: str
    prompt_message: str
    receipt_message: str
    redemption_rules: CentralRules


_decoder = msgspec.json.Decoder(CentralAnswer)


def read_central_answer(body: bytes) -> CentralAnswer | None:
    """Return the terms in the JSON `body`; None if it is not such an answer."""
    try:
        answer = _decoder.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    if b"\\u0000" in msgspec.json.encode(answer):
        return None
    return answer
