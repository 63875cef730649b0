"""The report of a certification, as JSON. It holds no correlation id and no body, only labels."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict

from agent.certify.judgement import Judgement, overall
from agent.certify.situations import SITUATIONS
from agent.sandbox.exchange import Exchange

# Of one situation: a till that hammers makes thousands.
MAX_EXCHANGES = 50


def report(
    judgements: Sequence[Judgement], *, version: str, at: str, answer_seconds: float
) -> Mapping[str, object]:
    """Return the report as JSON members."""
    return {
        "verdict": overall(judgements),
        "complete": len(judgements) == len(SITUATIONS),
        "agentVersion": version,
        "at": at,
        "answerLimitSeconds": answer_seconds,
        "situations": [_situation(one) for one in judgements],
    }


def _situation(judgement: Judgement) -> Mapping[str, object]:
    return {
        "situation": judgement.situation.key,
        "title": judgement.situation.title,
        "optional": judgement.situation.is_optional,
        "verdict": judgement.verdict,
        "findings": [asdict(one) for one in judgement.findings],
        "requests": len(judgement.exchanges),
        "exchanges": exchange_members(judgement.exchanges[:MAX_EXCHANGES]),
    }


def exchange_members(exchanges: Sequence[Exchange]) -> list[Mapping[str, object]]:
    """Return exchanges as JSON members; times are seconds after the first request."""
    ids = _numbered(one.correlation_id for one in exchanges)
    bodies = _numbered(one.body for one in exchanges)
    connections = _numbered(one.connection for one in exchanges)
    return [
        {
            "at": round(one.started - exchanges[0].started, 3),
            "call": one.call,
            "session": ids[one.correlation_id],
            "body": bodies[one.body],
            "connection": connections[one.connection],
            "fault": one.fault.kind if one.fault else None,
            "status": one.status,
            "ending": one.ending,
            "seconds": None if one.ended is None else round(one.ended - one.started, 3),
        }
        for one in exchanges
    ]


def _numbered(values: Iterable[Hashable]) -> dict[Hashable, int]:
    """Return a number for each value, in the order in which they appear."""
    return {value: number for number, value in enumerate(dict.fromkeys(values), start=1)}
