"""The rules of `judge`, on records of the wire that no program is needed for."""

from dataclasses import replace
from typing import Any, cast

import pytest

from agent.certify.json_report import MAX_EXCHANGES, report
from agent.certify.judge import PlayedSituation, judge
from agent.certify.judgement import Judgement, RuleFinding, SaleEnd, TillVerdict, overall
from agent.certify.situation_faults import SituationFaults
from agent.certify.situations import SITUATIONS, SaleLimits
from agent.sandbox.exchange import Ending, Exchange
from agent.sandbox.faults import Fault, FaultKind

KEYS = {one.key: one for one in SITUATIONS}
LIMITS = SaleLimits()
SOLD = SaleEnd(True, "The sale was sold.", 60.0)
PATH = "/client/users/anonymous/sessions"


def start(
    name: str, at: float, *, kind: FaultKind | None = None, body: str = "", connection: int = 1
) -> Exchange:
    """Return a session start that was answered at once."""
    content = body or f'{{"correlationId":"{name}"}}'
    fault = Fault(kind) if kind else None
    exchange = Exchange(connection, "POST", PATH, content.encode(), at, fault)
    exchange.end(Ending.CUT if kind else Ending.ANSWERED, at, None if kind else 200)
    return exchange


def email(name: str, at: float, address: str = "guest@example.com") -> Exchange:
    """Return an e-mail call that was answered at once."""
    body = f'{{"status":"accepted","emailAddress":"{address}"}}'.encode()
    exchange = Exchange(1, "PUT", f"/client/users/{name}/profile/email", body, at)
    exchange.end(Ending.ANSWERED, at, 200)
    return exchange


def found(
    key: str, *exchanges: Exchange, end: SaleEnd = SOLD, stale: tuple[Exchange, ...] = ()
) -> dict[str, RuleFinding]:
    """Return the findings in a situation, by rule."""
    findings = judge(PlayedSituation(KEYS[key], exchanges, stale, end, LIMITS))
    return {one.rule: one for one in findings}


def verdicts(findings: dict[str, RuleFinding]) -> dict[str, TillVerdict]:
    return {rule: one.verdict for rule, one in findings.items()}


def test_there_are_twelve_situations_with_a_name_each() -> None:
    assert len(SITUATIONS) == len(KEYS) == 12
    assert max(len(one.instruction) for one in SITUATIONS) <= 77  # with its indent a line


def test_without_a_request_nothing_is_seen_even_if_the_sale_was_sold() -> None:
    assert verdicts(found("session-lost")) == {"request": TillVerdict.NOT_SEEN}


def test_a_fault_that_met_no_request_is_not_seen() -> None:
    findings = found("email-lost", start("a", 0))

    assert findings["repeat"].verdict is TillVerdict.NOT_SEEN
    assert findings["repeat"].text == "No email call arrived, so nothing could go wrong with it."


def test_a_repeat_of_other_bytes_but_the_same_content_is_advice() -> None:
    first = start("a", 0, kind=FaultKind.LOST, body='{"correlationId":"a"}')
    again = start("a", 2, body='{ "correlationId": "a" }')

    assert found("session-lost", first, again)["body"].verdict is TillVerdict.ADVICE


def test_a_repeat_without_a_pause_is_advice() -> None:
    findings = found("session-lost", start("a", 0, kind=FaultKind.LOST), start("a", 0.1))

    assert findings["pause"].verdict is TillVerdict.ADVICE
    assert Judgement(KEYS["session-lost"], (*findings.values(),)).verdict is TillVerdict.PASSED


@pytest.mark.parametrize(
    ("left_at", "verdict"), [(4.9, TillVerdict.PASSED), (5.1, TillVerdict.FAILED)]
)
def test_a_till_gives_up_by_closing_in_time(left_at: float, verdict: TillVerdict) -> None:
    silent = Exchange(1, "POST", PATH, b'{"correlationId":"a"}', 0, Fault(FaultKind.SILENT))
    silent.end(Ending.LEFT, left_at)

    assert found("silent", silent, start("a", 50))["time-out"].verdict is verdict


def test_a_till_gives_up_by_its_next_action_too() -> None:
    """It keeps the old connection open, and asks again on another one."""
    silent = Exchange(1, "POST", PATH, b'{"correlationId":"a"}', 0, Fault(FaultKind.SILENT))

    assert found("silent", silent, start("a", 4))["time-out"].verdict is TillVerdict.PASSED
    assert found("silent", silent)["time-out"].verdict is TillVerdict.FAILED


def test_a_correction_is_a_second_email_call_with_another_body() -> None:
    calls = start("a", 0), email("a", 1)

    corrected = found("correction", *calls, email("a", 2, "other@example.com"))["e-mail"]

    assert corrected.verdict is TillVerdict.PASSED
    assert found("correction", *calls, email("a", 2))["e-mail"].verdict is TillVerdict.NOT_SEEN


def test_an_email_call_of_a_session_that_was_not_started_is_named() -> None:
    assert found("sale", start("a", 0), email("b", 1))["session"].verdict is TillVerdict.FAILED


def test_two_sales_with_one_id_are_not_two() -> None:
    assert found("two-sales", start("a", 0), start("a", 5))["id"].verdict is TillVerdict.NOT_SEEN
    assert found("two-sales", start("a", 0), start("b", 5))["id"].verdict is TillVerdict.PASSED


def test_a_real_error_of_the_agent_is_named() -> None:
    wrong = replace(start("a", 0), status=400)

    assert "400" in found("sale", wrong)["answer"].text


def test_a_refused_request_that_is_repeated_is_advice_and_for_ever_a_failure() -> None:
    refused = [start("a", at, kind=FaultKind.REFUSED) for at in range(0, 10, 2)]

    assert "repeat" in found("refused", *refused[:1])
    assert found("refused", *refused[:2])["repeat"].verdict is TillVerdict.ADVICE
    assert found("refused", *refused)["attempts"].verdict is TillVerdict.FAILED


def test_a_sale_of_which_nobody_said_how_it_ended_is_not_seen() -> None:
    end = SaleEnd(None, "Nobody said how the sale ended.", 9.0)

    assert found("sale", start("a", 0), end=end)["sale"].verdict is TillVerdict.NOT_SEEN


def test_a_late_repeat_of_an_earlier_sale_has_no_fault_and_spoils_nothing() -> None:
    faults = SituationFaults(LIMITS)
    faults.begin(KEYS["sale"])
    assert faults.fault_for(start("a", 0)) is None
    faults.begin(KEYS["session-lost"])

    assert faults.fault_for(late := start("a", 1)) is None
    assert faults.fault_for(fresh := start("b", 2)) is not None
    assert (faults.exchanges, faults.stale) == ([fresh], [late])


def test_what_is_optional_and_not_seen_does_not_spoil_a_pass() -> None:
    passed = Judgement(KEYS["sale"], (RuleFinding("sale", TillVerdict.PASSED, ""),))
    unseen = RuleFinding("e-mail", TillVerdict.NOT_SEEN, "")

    assert overall([passed, Judgement(KEYS["correction"], (unseen,))]) is TillVerdict.PASSED
    assert overall([passed, Judgement(KEYS["email-lost"], (unseen,))]) is TillVerdict.NOT_SEEN


def test_the_report_holds_no_id_no_address_and_a_bounded_number_of_requests() -> None:
    many = tuple(start("guest@example.com", at) for at in range(MAX_EXCHANGES + 9))
    judgement = Judgement(KEYS["full"], (), (*many, email("secret-id", 99)))

    members = report([judgement], version="1", at="now", answer_seconds=5.0)

    assert "example" not in str(members)
    assert "secret-id" not in str(members)
    situation = cast("list[dict[str, Any]]", members["situations"])[0]
    assert situation["requests"] == len(many) + 1
    assert len(situation["exchanges"]) == MAX_EXCHANGES
