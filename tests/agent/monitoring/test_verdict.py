"""The verdict and the line for monitoring systems, from the members of a status document."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.monitoring.verdict import Limits, Severity, judge, plugin_line, worst

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
HEALTHY: dict[str, object] = {
    "waiting": 3,
    "oldestWaitingAt": "2026-03-04T11:58:00.000Z",
    "deadLetters": 0,
    "stuck": 0,
    "lost": [],
    "storage": {"state": "ready", "freeBytes": 5_000_000_000, "databaseBytes": 4096},
    "central": {"url": "https://hq.example"},
    "sync": {"state": "idle"},
}
NO_LIMITS = Limits(None, None)
# https://www.monitoring-plugins.org/doc/guidelines.html, sections 2.1 and 2.6.
PERFORMANCE = re.compile(r"[a-z_]+=(U|-?[0-9.]+)(s|B|%|c)?;[0-9.]*;[0-9.]*;[0-9.]*;[0-9.]*")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def severity(members: dict[str, object], limits: Limits = NO_LIMITS) -> Severity:
    return worst(judge(HEALTHY | members, limits, NOW))


def line(limits: Limits = NO_LIMITS, **members: object) -> str:
    shown = HEALTHY | members
    return plugin_line(shown, judge(shown, limits, NOW), limits, NOW)


def test_line_of_a_healthy_agent_has_text_and_performance_data() -> None:
    assert line(Limits(timedelta(hours=2), 100)) == (
        "LOYALTY AGENT OK: Captures are recorded on this machine. Delivery to head office works."
        " Pending: 3 captures. | waiting=3;;100;0; oldest=120s;;7200;0; dead_letters=0;0;;0;"
        " lost=0;;0;0; free=5000000000B;;;0; database=4096B;;;0; stuck=0;0;;0;"
    )


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, Severity.OK),
        ({"sync": {"state": "retrying", "trouble": "no network"}}, Severity.OK),
        ({"sync": {"state": "quiet hours"}}, Severity.OK),
        ({"newEpoch": {"beganAt": "2026-03-01T00:00:00Z", "reason": "a new file"}}, Severity.OK),
        ({"deadLetters": 1}, Severity.WARNING),
        ({"stuck": 1}, Severity.WARNING),
        ({"termsRefused": {"field": "currency", "reason": "unknown"}}, Severity.WARNING),
        ({"storage": {"state": "ready", "setAside": ["x"]}}, Severity.WARNING),
        ({"storage": {"state": "ready", "damagedRows": 1}}, Severity.WARNING),
        ({"sync": {"state": "retrying", "trouble": "clock wrong"}}, Severity.WARNING),
        ({"sync": {"state": "holding", "trouble": "unauthorized"}}, Severity.CRITICAL),
        ({"storage": {"state": "full"}}, Severity.CRITICAL),
        ({"storage": {"state": "down"}}, Severity.CRITICAL),
        ({"storage": {"state": "not running"}}, Severity.CRITICAL),
        ({"lost": [{"firstSequence": 1, "lastSequence": 2}]}, Severity.CRITICAL),
        ({"lost": [{"captures": 2, "acknowledgedAt": "2026-03-01T00:00:00Z"}]}, Severity.OK),
        ({"nameSharedSince": "2026-03-01T00:00:00Z"}, Severity.CRITICAL),
        ({"portTakenAt": "::1"}, Severity.CRITICAL),
        ({"deadLetters": 1, "storage": {"state": "full"}}, Severity.CRITICAL),
        ({"waiting": None}, Severity.UNKNOWN),
    ],
)
def test_each_condition_has_its_severity(members: dict[str, object], expected: Severity) -> None:
    assert severity(members) is expected


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Limits(timedelta(minutes=2), None), Severity.OK),
        (Limits(timedelta(seconds=119), None), Severity.CRITICAL),
        (Limits(None, 3), Severity.OK),
        (Limits(None, 2), Severity.CRITICAL),
    ],
)
def test_backlog_beyond_a_limit_is_critical(limits: Limits, expected: Severity) -> None:
    assert severity({}, limits) is expected


def test_limits_mean_nothing_where_nothing_is_to_be_delivered() -> None:
    limits = Limits(timedelta(0), 0)
    assert severity({"sync": {"state": "capture only"}}, limits) is Severity.OK
    assert severity({"central": {"url": ""}}, limits) is Severity.OK


@pytest.mark.parametrize("at", ["2026-03-04T13:00:00Z", "noon", 7, "2026-03-04T11:00:00"])
def test_age_is_never_negative_and_a_wrong_time_is_no_failure(at: object) -> None:
    assert re.search(r"oldest=[0-9]+s", line(oldestWaitingAt=at))


def test_the_worst_is_said_first() -> None:
    said = line(deadLetters=2, storage={"state": "full", "reason": "12 MiB free"})
    assert said.startswith("LOYALTY AGENT CRITICAL: Captures are rejected: the disk is full.")
    assert "Rejected: 2 captures." in said


def test_text_of_others_ends_neither_line_nor_text() -> None:
    said = line(storage={"state": "full", "reason": "a | b\nc\x1b[2J"})
    assert said.count("|") == 1
    assert "\n" not in said
    assert "\x1b" not in said


@given(st.dictionaries(st.sampled_from(sorted(HEALTHY)), JSON))
def test_any_document_gives_one_valid_line(members: dict[str, object]) -> None:
    text, _, performance = line(Limits(timedelta(days=1), 5), **members).partition(" | ")
    assert re.match("LOYALTY AGENT (OK|WARNING|CRITICAL|UNKNOWN): ", text)
    assert text.isprintable()
    assert all(PERFORMANCE.fullmatch(one) for one in performance.split(" "))
