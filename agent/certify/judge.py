"""Rules for a till's manners, applied to the requests of a situation. Pure: no I/O, no clock."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from agent.certify.judgement import RuleFinding, SaleEnd, TillVerdict
from agent.certify.situations import SaleLimits, Situation
from agent.sandbox.exchange import Ending, Exchange
from agent.sandbox.faults import Call, FaultKind

_WAITS = frozenset({FaultKind.SLOW, FaultKind.SILENT})
_PASSED, _ADVICE, _NOT_SEEN, _FAILED = TillVerdict


@dataclass(frozen=True, slots=True)
class PlayedSituation:
    """A situation with its requests and its end. `stale`: requests with ids of earlier sales."""

    situation: Situation
    exchanges: Sequence[Exchange]
    stale: Sequence[Exchange]
    end: SaleEnd
    limits: SaleLimits

    def of(self, call: Call) -> list[Exchange]:
        """Return the requests of a call."""
        return [one for one in self.exchanges if one.call is call]

    @property
    def tested(self) -> list[Exchange]:
        """The requests of the call that has the fault."""
        return self.of(self.situation.call)


def judge(played: PlayedSituation) -> tuple[RuleFinding, ...]:
    """Return the findings of all rules."""
    if not played.exchanges and not played.stale:
        advice = (
            "Is the sandbox the address that the till uses, and does it send to it without a proxy "
            "(http_proxy)? Nothing can be said without a request."
        )
        return (RuleFinding("request", _NOT_SEEN, "No request arrived.", advice),)
    return tuple(finding for rule in _RULES for finding in rule(played))


def _one_id_per_sale(played: PlayedSituation) -> Iterator[RuleFinding]:
    sales, starts = played.situation.sales, played.of(Call.SESSION)
    ids = {one.correlation_id for one in starts}
    advice = "Choose one id per sale, before the first attempt, and store it with the sale."
    if not starts and any(one.call is Call.SESSION for one in played.stale):
        text = "The till used the correlationId of an earlier sale."
        yield RuleFinding("id", _FAILED, text, advice)
    elif len(ids) > sales and any(one.fault for one in starts):
        text = f"The till changed its correlationId on the repeat: {len(ids)} ids in one sale."
        why = "Head office counts a session for each id. Repeat with the same id and body. "
        yield RuleFinding("id", _FAILED, text, why + advice)
    elif len(ids) > sales:
        text = f"The till started {len(ids)} sessions, for {sales} expected."
        yield RuleFinding("id", _FAILED, text, advice)
    elif starts and len(ids) < sales:
        text = f"Only {len(ids)} of {sales} sales started a session."
        yield RuleFinding("id", _NOT_SEEN, text, "A sale with the id of another is none.")
    elif starts:
        yield RuleFinding("id", _PASSED, "One correlationId per sale.")


def _same_body(played: PlayedSituation) -> Iterator[RuleFinding]:
    repeated = [[*group] for group in _repeats_of(played)]
    if not repeated:
        return
    bodies = [{one.body for one in group} for group in repeated]
    if all(len(one) == 1 for one in bodies):
        yield RuleFinding("body", _PASSED, "Repeated with the same id and the same body.")
    elif all(_are_equal(one) for one in bodies):
        text = "The repeat has the same content, but not the same bytes."
        advice = "Make the body once, before the first attempt, and send the same bytes again."
        yield RuleFinding("body", _ADVICE, text, advice)
    else:
        text = "The till changed the body on the repeat, under the same correlationId."
        advice = (
            "Make the body once and send it again unchanged: no time or counter of the attempt in"
            " it. The agent refuses other content under a used id (400)."
        )
        yield RuleFinding("body", _FAILED, text, advice)


def _repeats_of(played: PlayedSituation) -> Iterator[list[Exchange]]:
    """Yield the requests of each id that was sent more than once after a fault."""
    if played.situation.kind is None:
        return
    for call in (Call.SESSION, Call.EMAIL):
        for name in {one.correlation_id for one in played.of(call)}:
            group = [one for one in played.of(call) if one.correlation_id == name]
            if len(group) > 1:
                yield group


def _are_equal(bodies: Iterable[bytes]) -> bool:
    try:
        first, *others = [json.loads(body) for body in bodies]
    except (ValueError, RecursionError):
        return False
    return all(first == other for other in others)


def _repeats(played: PlayedSituation) -> Iterator[RuleFinding]:
    situation, tested = played.situation, played.tested
    if situation.kind is None:
        return
    if not any(one.fault for one in tested):
        text = f"No {situation.call} call arrived, so nothing could go wrong with it."
        yield RuleFinding("repeat", _NOT_SEEN, text)
    elif situation.needs_repeat and len(tested) == 1:
        if tested[0].status == HTTPStatus.OK:
            return  # it waited for the late answer: see `_gives_up`
        text = "The till did not repeat the request."
        advice = "Wait 1 s and send the same request once more: the repeat gets the lost answer."
        yield RuleFinding("repeat", _FAILED, text, advice)
    elif situation.needs_repeat:
        yield from _pause(played)
    elif len(tested) > 1:
        text = "The till repeated a request that was refused."
        advice = "A 4xx says that the request is wrong, and a repeat would be as well: sell on."
        yield RuleFinding("repeat", _ADVICE, text, advice)
    else:
        yield RuleFinding("repeat", _PASSED, "A refused request was not repeated.")


def _pause(played: PlayedSituation) -> Iterator[RuleFinding]:
    first, second, *_ = played.tested
    pause = second.started - (first.ended if first.ended is not None else first.started)
    if pause < played.limits.pause_seconds:
        text = f"The repeat came {max(pause, 0):.1f} s after the failure."
        yield RuleFinding("pause", _ADVICE, text, "Wait 1 s (Retry-After) before a repeat.")


def _bounded(played: PlayedSituation) -> Iterator[RuleFinding]:
    most = played.limits.attempts
    for call in (Call.SESSION, Call.EMAIL):
        sent, allowed = len(played.of(call)), most * played.situation.sales
        if sent > allowed:
            text = f"The till sent {sent:,} {call} calls in the sale: it hammers the agent."
            advice = f"Make two attempts, at most {most}, with 1 s between them; then sell on."
            yield RuleFinding("attempts", _FAILED, text, advice)


def _gives_up(played: PlayedSituation) -> Iterator[RuleFinding]:
    waits = [one for one in played.tested if one.fault and one.fault.kind in _WAITS]
    if not waits:
        return
    longest, limit = max(_waited(one, played) for one in waits), played.limits.answer_seconds
    if longest <= limit:
        text = f"Gave up an answer after {longest:.1f} s."
        yield RuleFinding("time-out", _PASSED, text)
        return
    text = f"The till has no time-out, or one above {limit:g} s: it waited {longest:.1f} s"
    was_cut = any(one.ending is not Ending.LEFT for one in waits)
    text += " and did not end it itself." if was_cut else "."
    advice = "Set time-outs in the HTTP client: 1 s to connect, 3 s for the whole answer."
    yield RuleFinding("time-out", _FAILED, text, advice)


def _waited(exchange: Exchange, played: PlayedSituation) -> float:
    """Return the seconds until the till closed, sent another request, or ended the sale."""
    ends = [one.started for one in played.exchanges if one.started > exchange.started]
    ends += [played.end.at] if exchange.ended is None else [exchange.ended]
    return min(ends) - exchange.started


def _order(played: PlayedSituation) -> Iterator[RuleFinding]:
    started = {one.correlation_id for one in played.of(Call.SESSION)}
    if any(one.correlation_id not in started for one in played.of(Call.EMAIL)):
        text = "An e-mail call names a session that the till did not start."
        advice = "Use the session's correlationId in the path, percent-encoded."
        yield RuleFinding("session", _FAILED, text, advice)


def _email(played: PlayedSituation) -> Iterator[RuleFinding]:
    emails = played.of(Call.EMAIL)
    if played.situation.needs_email and not emails:
        advice = "Ask the customer when the session's answer has a prompt."
        yield RuleFinding("e-mail", _NOT_SEEN, "No e-mail call arrived.", advice)
    if played.situation.key == "correction":
        count = len({one.body for one in emails})
        if count > 1:
            yield RuleFinding("e-mail", _PASSED, "A correction is a second e-mail call.")
        else:
            yield RuleFinding("e-mail", _NOT_SEEN, "No second e-mail call arrived.")
    for one in (*played.of(Call.SESSION), *emails):
        if one.fault is None and one.status is not None and one.status >= HTTPStatus.BAD_REQUEST:
            text = f"The agent answered a {one.call} call with {one.status}."
            advice = "The header Loyalty-Reason of that answer says why."
            yield RuleFinding("answer", _FAILED, text, advice)
            return


def _connection(played: PlayedSituation) -> Iterator[RuleFinding]:
    if played.situation.kind is not None or len(played.exchanges) < 2:  # noqa: PLR2004 - a pair
        return
    if len({one.connection for one in played.exchanges}) == 1:
        yield RuleFinding("connection", _PASSED, "One connection for all calls.")
        return
    text = "The till opened a connection for each call."
    if played.situation.sales > 1:
        text = "More than one connection for the sales, or each sale was a run of its own."
    yield RuleFinding("connection", _ADVICE, text, "Keep one connection for all calls.")


def _sells_on(played: PlayedSituation) -> Iterator[RuleFinding]:
    match played.end.is_sold:
        case True:
            yield RuleFinding("sale", _PASSED, played.end.text)
        case False:
            text = f"The till stopped the sale. {played.end.text}"
            advice = "A sale never waits for the agent: after two attempts sell without loyalty."
            yield RuleFinding("sale", _FAILED, text, advice)
        case None:
            yield RuleFinding("sale", _NOT_SEEN, played.end.text)


_RULES: tuple[Callable[[PlayedSituation], Iterator[RuleFinding]], ...] = (
    _one_id_per_sale,
    _same_body,
    _repeats,
    _bounded,
    _gives_up,
    _order,
    _email,
    _connection,
    _sells_on,
)
