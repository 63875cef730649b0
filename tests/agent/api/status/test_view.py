"""Human-readable status: most important first, with the action required."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.api.status.view import Level, Status

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    ["waiting", "deadLetters", "storage", "sync", "central", "oldestWaitingAt", "startedAt"]
)


def headlines(waiting: int | None = 0, **members: object) -> list[str]:
    usual: dict[str, object] = {
        "storeId": "0042",
        "tillId": "till-1",
        "waiting": waiting,
        "storage": {"state": "ready"},
        "sync": {"state": "idle"},
    }
    return [headline.text for headline in Status(usual | members).headlines()]


def sync_state(state: str, **members: object) -> dict[str, object]:
    return {"state": state, "trouble": "no network", "detail": "no connection"} | members


def test_healthy_agent_is_described_in_two_sentences() -> None:
    assert headlines() == [
        "Captures are recorded on this machine.",
        "All captures are delivered to head office.",
    ]


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ("full", "Captures are rejected: the disk is full. free some space"),
        ("down", "Captures are rejected: the storage is not available. free some space"),
        ("odd", "It is unknown whether captures are recorded. free some space"),
    ],
)
def test_rejected_captures_are_the_first_sentence_with_the_reason(state: str, text: str) -> None:
    assert headlines(storage={"state": state, "reason": "free some space"})[0] == text


@pytest.mark.parametrize(
    ("sync", "waiting", "text"),
    [
        (sync_state("idle"), 1, "Delivery to head office works. Pending: 1 capture."),
        (sync_state("delivering"), 1200, "Delivering to head office. Pending: 1,200 captures."),
        (
            sync_state("capture only"),
            7,
            (
                "Captures of till-1 in 0042 are stored here and not delivered: central.url is not"
                " set. Set what is missing and restart, or join head office with: loyalty-agent"
                " join."
            ),
        ),
        (sync_state("quiet hours"), 2, "No delivery during quiet hours. Pending: 2 captures."),
        (
            sync_state("retrying", nextTryInSeconds=11.2),
            2,
            (
                "Head office is unreachable: no network (no connection). Pending: 2 captures;"
                " next try in 12 s. No action needed."
            ),
        ),
        (
            sync_state("retrying", trouble="head office failed", detail="answered 500"),
            2,
            (
                "Head office does not take captures now: head office failed (answered 500)."
                " Pending: 2 captures. No action needed."
            ),
        ),
        (
            sync_state("retrying", trouble="certificate not trusted", detail="self-signed"),
            1,
            (
                "Delivery to head office fails: certificate not trusted (self-signed). Pending:"
                " 1 capture. For advice: loyalty-agent doctor"
            ),
        ),
        (
            sync_state("retrying", trouble=[], detail=None),
            1,
            (
                "Delivery to head office fails: no reason given. Pending: 1 capture."
                " For advice: loyalty-agent doctor"
            ),
        ),
        (
            sync_state("retrying", trouble="storage", detail="disk I/O error"),
            1,
            (
                "Delivery to head office fails: storage (disk I/O error). Pending: 1 capture."
                " For advice: loyalty-agent doctor"
            ),
        ),
        (
            sync_state("holding", trouble="unauthorized", detail=None),
            None,
            (
                "Head office rejects this machine: unauthorized. Pending: unknown number of"
                " captures. For advice: loyalty-agent doctor"
            ),
        ),
        (sync_state("later {x}"), 2, "Delivery state: later {x}. Pending: 2 captures."),
    ],
)
def test_second_sentence_describes_the_delivery_state(
    sync: dict[str, object], waiting: int | None, text: str
) -> None:
    assert headlines(waiting, sync=sync)[1] == text


def test_dead_letters_and_quarantined_databases_state_the_action() -> None:
    lines = headlines(deadLetters=2, storage={"state": "ready", "setAside": ["20260101T000000Z"]})

    assert lines[1] == "No captures are pending."
    assert lines[2].startswith("Rejected: 2 captures.")
    assert lines[2].endswith("loyalty-agent dead-letters list")
    assert lines[3].endswith("keep set-aside/20260101T000000Z.")


@pytest.mark.parametrize(
    ("counts", "kept", "text"),
    [
        ((1, 0, 0), [], "Its undelivered captures are being salvaged: keep set-aside/a."),
        (
            (0, 5, 0),
            [],
            "Captures salvaged: 5. Its captures are being delivered: keep set-aside/a.",
        ),
        (
            (0, 5, 2),
            ["a"],
            (
                "Captures salvaged: 5; unreadable: 2. The rest is delivered, and set-aside/a is not"
                " deleted by itself. For advice: loyalty-agent doctor"
            ),
        ),
    ],
)
def test_salvage_of_a_quarantined_database_is_described(
    counts: tuple[int, int, int], kept: list[str], text: str
) -> None:
    salvage = dict(zip(("pending", "salvaged", "unreadable"), counts, strict=True))
    storage = {"state": "ready", "setAside": ["a"], "setAsideKept": kept, "salvage": salvage}

    assert headlines(storage=storage)[2] == f"A damaged database was quarantined. {text}"


def test_file_that_stays_is_not_said_to_be_deleted_beside_one_that_is_being_delivered() -> None:
    """Nothing was unreadable in it, but its end is not known: it stays."""
    storage = {
        "state": "ready",
        "setAside": ["a", "b"],
        "setAsideKept": ["a"],
        "salvage": {"pending": 0, "salvaged": 5, "unreadable": 0},
    }
    text = headlines(storage=storage)[2]
    assert "being delivered: keep set-aside/b." in text
    assert "set-aside/a is not deleted by itself" in text


def test_early_purges_and_copies_are_named() -> None:
    early = {"keptDays": 3.0, "deliveredDays": 30.0, "limit": "max_bytes"}
    copies = [{"name": "agent.db.before-0003", "madeAt": "2026-01-02T03:04:05.678Z"}]
    lines = headlines(storage={"state": "ready", "earlyPurge": early, "copies": copies})

    assert lines[2] == (
        "Delivered captures are kept 3 days instead of 30: [storage] max_bytes is reached."
    )
    assert "agent.db.before-0003 of 2026-01-02" in lines[3]


@given(st.dictionaries(NAMES, JSON))
def test_any_json_object_can_be_displayed(members: dict[str, object]) -> None:
    assert len(list(Status(members).headlines())) >= 2


def test_figures_are_grouped_and_formatted() -> None:
    figures = Status(
        {
            "storage": {"state": "ready", "databaseBytes": 3 * 1024**2, "freeBytes": 5 * 1024**3},
            "oldestWaitingAt": "2026-01-02T03:04:05.678Z",
            "central": {"url": "https://hq.example"},
            "waiting": 1_234,
        }
    ).figures()

    assert list(figures) == ["Head office", "Storage", "Agent"]
    assert figures["Head office"]["Oldest of them"] == "2026-01-02 03:04:05 UTC"
    assert figures["Head office"]["Pending captures"] == "1,234"
    assert (figures["Storage"]["Database"], figures["Storage"]["Free disk space"]) == (
        "3.0 MiB",
        "5.0 GiB",
    )


@pytest.mark.parametrize(
    ("members", "level"),
    [
        ({"storage": {"state": "full"}}, Level.ALARM),
        ({"storage": {"state": "down"}}, Level.ALARM),
        ({"sync": {"state": "holding"}}, Level.ALARM),
        ({"sync": {"state": "retrying"}}, Level.NOTE),
        ({"sync": {"state": "capture only"}}, Level.NOTE),
        ({"sync": {"state": "retrying", "trouble": "clock wrong"}}, Level.WARNING),
        ({"deadLetters": 1}, Level.WARNING),
        ({"storage": {"state": "ready", "setAside": ["a", "b"]}}, Level.WARNING),
    ],
)
def test_condition_that_needs_attention_has_a_level(
    members: dict[str, object], level: Level
) -> None:
    usual = {"waiting": 0, "storage": {"state": "ready"}, "sync": {"state": "idle"}}

    levels = [headline.level for headline in Status(usual | members).headlines()]

    assert [one for one in levels if one is not Level.OK] == [level]


def test_unreadable_store_has_unknown_figures() -> None:
    head_office = Status({"waiting": None, "oldestWaitingAt": None}).figures()["Head office"]

    assert head_office["Pending captures"] == head_office["Oldest of them"] == "unknown"


def test_terms_that_are_not_fetched_are_a_note_unless_nothing_can_be_delivered() -> None:
    missed = {"since": None, "reason": "head office failed (HTTP 500)"}
    note = "Program terms were never fetched: head office failed (HTTP 500)."
    assert note in headlines(termsNotFetched=missed)
    assert note not in headlines(sync=sync_state("retrying"), termsNotFetched=missed)


def test_lost_captures_between_those_that_came_back_are_counted_alone() -> None:
    lost = {"epoch": "e", "firstSequence": 3, "lastSequence": 9, "reason": "a reason"}
    status = Status({"lost": [lost | {"isCertain": True, "captures": 1}]})
    (alarm,) = [one for one in status.problems() if "lost" in one.text]
    assert alarm.text.startswith("1 capture was lost (e/3 to 9")


def test_loss_that_head_office_has_accepted_is_a_note() -> None:
    lost = {"epoch": "e", "firstSequence": 3, "lastSequence": 4, "reason": "a reason"}
    accepted = {"isCertain": True, "captures": 2, "acknowledgedAt": "2026-03-04T05:06:07Z"}
    status = Status({"storage": {"state": "ready"}, "lost": [lost | accepted]})
    (note,) = [one for one in status.headlines() if "lost" in one.text]
    assert note.level is Level.NOTE
    assert "Head office has accepted the loss: 2026-03-04" in note.text
    assert status.problems() == []


@pytest.mark.parametrize(
    ("is_certain", "text"), [(True, "2 captures were lost"), (False, "Up to 2 captures were lost")]
)
def test_lost_captures_are_an_alarm_with_their_numbers(
    is_certain: bool,  # noqa: FBT001 - a case
    text: str,
) -> None:
    lost = {"epoch": "e", "firstSequence": 3, "lastSequence": 4, "reason": "a reason"}
    status = Status({"lost": [lost | {"isCertain": is_certain}]})
    (alarm,) = [one for one in status.headlines() if "lost" in one.text]
    assert alarm == (Level.ALARM, f"{text} (e/3 to 4: a reason). For advice: loyalty-agent doctor")
