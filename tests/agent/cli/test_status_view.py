"""Human-readable status: most important first, with the action required."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cli.status_view import Status, headlines, show_status

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    ["waiting", "deadLetters", "storage", "sync", "central", "oldestWaitingAt", "startedAt"]
)


def said(waiting: int | None = 0, **members: object) -> list[str]:
    usual: dict[str, object] = {
        "waiting": waiting,
        "storage": {"state": "ready"},
        "sync": {"state": "idle"},
    }
    return [headline.text for headline in headlines(Status(usual | members))]


def way(state: str, **members: object) -> dict[str, object]:
    return {"state": state, "trouble": "no network", "detail": "no connection"} | members


def test_healthy_agent_is_described_in_two_sentences() -> None:
    assert said() == [
        "Tills are served: captures are taken and kept on this machine.",
        "Nothing waits for head office.",
    ]


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("full", "TILLS ARE REFUSED: there is no room for captures. free some space"),
        ("down", "TILLS ARE REFUSED: the storage does not work. free some space"),
        ("odd", "It is not known whether tills are served. free some space"),
    ],
)
def test_rejected_captures_are_the_first_sentence_with_the_reason(state: str, words: str) -> None:
    assert said(storage={"state": state, "reason": "free some space"})[0] == words


@pytest.mark.parametrize(
    ("sync", "waiting", "words"),
    [
        (way("idle"), 1, "Captures go out to head office: 1 capture waits."),
        (way("delivering"), 1200, "Captures go out to head office: 1,200 captures wait."),
        (
            way("capture only"),
            7,
            "Captures are kept here and sent nowhere: central.url is not set.",
        ),
        (
            way("quiet hours"),
            2,
            "In the quiet hours nothing is sent: 2 captures wait for their end.",
        ),
        (
            way("retrying", nextTryInSeconds=11.2),
            2,
            (
                "Head office is not reached: no network (no connection). Until it is, 2 captures"
                " wait; next try in 12 s."
            ),
        ),
        (
            way("holding", trouble="unauthorized", detail=None),
            None,
            (
                "HEAD OFFICE REFUSES THIS MACHINE: unauthorized. Until somebody mends that, an"
                " unknown number of captures waits; what to do: loyalty-agent doctor"
            ),
        ),
        (way("later {x}"), 2, "The way to head office: later {x}; 2 captures wait."),
    ],
)
def test_second_sentence_describes_the_delivery_state(
    sync: dict[str, object], waiting: int | None, words: str
) -> None:
    assert said(waiting, sync=sync)[1] == words


def test_dead_letters_and_quarantined_databases_state_the_action() -> None:
    lines = said(deadLetters=2, storage={"state": "ready", "setAside": ["20260101T000000Z"]})

    assert lines[2].startswith("Head office refused 2 captures for good;")
    assert lines[2].endswith("loyalty-agent dead-letters list")
    assert lines[3].endswith("keep 20260101T000000Z.")


@given(st.dictionaries(NAMES, JSON))
def test_any_json_object_can_be_displayed(members: dict[str, object]) -> None:
    assert len(list(headlines(Status(members)))) >= 2


def test_figures_are_printed_in_groups(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)

    show_status(
        {
            "storage": {"state": "ready", "databaseBytes": 3 * 1024**2, "freeBytes": 5 * 1024**3},
            "oldestWaitingAt": "2026-01-02T03:04:05.678Z",
            "central": {"url": "https://hq.example\x1b[2J"},
        }
    )

    shown = capsys.readouterr().out
    assert "2026-01-02 03:04:05 UTC" in shown
    assert "3.0 MiB" in shown
    assert "5.0 GiB" in shown
    assert "https://hq.example\\x1b[2J" in shown
    titles = [title for title in ("Head office", "Storage", "Agent") if title in shown]
    assert [shown.index(t) for t in titles] == sorted(shown.index(t) for t in titles)
