"""Faults as they are asked for, on the terminal and as JSON."""

import pytest

from agent.sandbox.faults import (
    ALWAYS,
    EXPLAINED,
    Call,
    Fault,
    FaultKind,
    FaultPlan,
    FaultSyntaxError,
    parse_members,
    parse_words,
)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("lost", Fault(FaultKind.LOST)),
        ("slow 2.5", Fault(FaultKind.SLOW, seconds=2.5)),
        ("503 email x3", Fault(FaultKind.UNAVAILABLE, Call.EMAIL, times=3)),
        ("SILENT session always", Fault(FaultKind.SILENT, Call.SESSION, times=ALWAYS)),
    ],
)
def test_a_typed_fault_is_understood_and_said_as_it_is_typed(text: str, fault: Fault) -> None:
    assert parse_words(text) == fault
    assert parse_words(str(fault)) == fault


@pytest.mark.parametrize("text", ["loss", "slow fast", "slow 0", "slow nan", "lost x99999"])
def test_a_wrong_line_says_what_is_known(text: str) -> None:
    with pytest.raises(FaultSyntaxError):
        parse_words(text)


@pytest.mark.parametrize(
    "members",
    [[], {}, {"kind": "lost", "calls": "email"}, {"kind": "lost", "call": "other"}]
    + [{"kind": "slow", "seconds": one} for one in ("1", 0, -1, 1e9, True)]
    + [{"kind": "lost", "times": one} for one in ("1", -1, 1.5, True)]
    + [{"kind": "lost", "call": ["email"]}],
)
def test_a_wrong_object_is_refused(members: object) -> None:
    with pytest.raises(FaultSyntaxError):
        parse_members(members)


def test_an_object_without_a_kind_is_told_what_is_missing() -> None:
    with pytest.raises(FaultSyntaxError, match=r"^kind is missing: use slow, "):
        parse_members({})


def test_faults_come_in_order_each_for_its_call_and_as_often_as_asked() -> None:
    plan = FaultPlan()
    plan.add(parse_words("lost email x2"))
    plan.add(parse_words("503"))

    taken = [plan.take(call) for call in (Call.OTHER, Call.SESSION, Call.EMAIL, Call.EMAIL)]

    kinds = [None if one is None else one.kind for one in taken]
    assert kinds == [None, FaultKind.UNAVAILABLE, FaultKind.LOST, FaultKind.LOST]
    assert plan.take(Call.EMAIL) is None


def test_a_fault_for_always_stays_until_it_is_cleared() -> None:
    plan = FaultPlan()
    plan.add(parse_words("507 always"))

    assert [plan.take(Call.SESSION) is None for _ in range(3)] == [False] * 3
    plan.clear()
    assert plan.take(Call.SESSION) is None


def test_each_fault_is_explained() -> None:
    assert EXPLAINED.keys() == {*FaultKind}
