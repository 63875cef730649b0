"""Central's own answer to a session start, as far as it holds for other sessions too."""

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
    """The program's terms in it. The card's balance is that session's own: it is not kept."""

    prompt: str
    prompt_message: str
    receipt_message: str
    redemption_rules: CentralRules


_decoder = msgspec.json.Decoder(CentralAnswer)


def read_central_answer(body: bytes) -> CentralAnswer | None:
    """Return the terms in `body`, JSON; None where it does not have them."""
    try:
        answer = _decoder.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    if b"\\u0000" in msgspec.json.encode(answer):
        return None
    return answer
