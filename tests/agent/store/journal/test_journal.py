"""The journal: new captures, repeats and rejections, independent of the grouping."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest

from agent.facts import (
    Capture,
    EmailAnswered,
    EmailStatus,
    IdTaken,
    NoOpenSession,
    Outcome,
    Recorded,
    SessionStarted,
)
from agent.store.journal.insert import COLUMNS, MAX_ROWS
from tests.support.agent.store import ADDRESS, answer, new, opened, query, record, repeat, session

OTHER = SessionStarted("one", None, closed=False, body=b'{"correlationId":"one","channel":"WEB"}')
ACCEPTED, DECLINED = answer("one"), answer("one", status=EmailStatus.DECLINED)


CASES: dict[str, list[tuple[Capture, Outcome]]] = {
    "a repeated session": [(session(), new(1)), (session(), repeat(1))],
    "an id with other content": [(session(), new(1)), (OTHER, IdTaken())],
    "an id with another locale": [
        (session(locale="en-CA"), new(1)),
        (session(locale="fr-CA"), IdTaken()),
        (session(), IdTaken()),
    ],
    "content in another order and spacing": [
        (OTHER, new(1)),
        (
            SessionStarted(
                "one", None, closed=False, body=b'{ "channel": "WEB", "correlationId": "one" }'
            ),
            repeat(1),
        ),
    ],
    "an answer without a session": [(answer("unknown"), NoOpenSession())],
    "an answer before its session": [
        (ACCEPTED, NoOpenSession()),
        (session(), new(1)),
        (ACCEPTED, new(2)),
    ],
    "an answer to a closed session": [
        (session(closed=True), new(1)),
        (ACCEPTED, NoOpenSession()),
        (DECLINED, NoOpenSession()),
    ],
    "a repeated answer": [(session(), new(1)), (ACCEPTED, new(2)), (ACCEPTED, repeat(2))],
    "another address": [
        (session(), new(1)),
        (ACCEPTED, new(2)),
        (answer("one", "guest.two@example.com"), new(3)),
        (answer("one", "guest.two@example.com"), repeat(3)),
    ],
    "back to the first answer": [
        (session(), new(1)),
        (ACCEPTED, new(2)),
        (DECLINED, new(3)),
        (ACCEPTED, new(4)),
    ],
    "the same address in two sessions": [
        (session("one"), new(1)),
        (session("two"), new(2)),
        (answer("one"), new(3)),
        (answer("two"), new(4)),
    ],
    "the same answer with more in it": [
        (session(), new(1)),
        (DECLINED, new(2)),
        (EmailAnswered("one", EmailStatus.DECLINED, None, b'{"status":"declined","x":1}'), new(3)),
    ],
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("group", [1, 2, 100])
def test_outcomes_do_not_depend_on_the_grouping(
    tmp_path: Path, case: Sequence[tuple[Capture, Outcome]], group: int
) -> None:
    captures = [capture for capture, _ in case]
    with opened(tmp_path) as store:
        answers = list(
            itertools.chain.from_iterable(
                record(store, *captures[start : start + group])
                for start in range(0, len(captures), group)
            )
        )
    assert answers == [outcome for _, outcome in case]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_outcomes_do_not_depend_on_the_session_cache(
    tmp_path: Path, case: Sequence[tuple[Capture, Outcome]]
) -> None:
    for capture, outcome in case:
        with opened(tmp_path) as store:
            assert record(store, capture) == [outcome]


def test_repeat_is_recognised_after_its_address_was_erased(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        record(store, session(), ACCEPTED)
        store.run(lambda connection: connection.execute("UPDATE email_answer SET address = NULL"))
        assert record(store, ACCEPTED) == [repeat(2)]


def test_capture_is_an_event_row_and_a_detail_row_with_one_position(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        record(store, session(locale="fr-CA"), ACCEPTED, DECLINED)
    assert query(tmp_path, "SELECT position, type, session_position, body FROM event") == [
        (1, "session.started", 1, b'{"correlationId":"one"}'),
        (2, "email.answered", 1, b'{"status":"accepted"}'),
        (3, "email.answered", 1, b'{"status":"declined"}'),
    ]
    assert query(tmp_path, "SELECT * FROM session") == [(1, "one", "fr-CA", 0)]
    assert query(
        tmp_path,
        "SELECT position, session_position, status, address IS NULL, address_mark IS NULL"
        " FROM email_answer",
    ) == [(2, 1, "accepted", 0, 0), (3, 1, "declined", 1, 1)]


def test_event_has_both_clocks_and_the_boot(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        record(store, session())
    assert query(tmp_path, "SELECT occurred_at_us, monotonic_us, boot_number FROM event") == [
        (1_700_000_000_000_000, 5_000_000, 1)
    ]


def test_failed_group_writes_nothing_and_uses_no_number(tmp_path: Path) -> None:
    poison = SessionStarted("half a pair \ud800", None, closed=False, body=b"{}")
    with opened(tmp_path) as store:
        with pytest.raises(UnicodeEncodeError):
            record(store, session("one"), poison)
        assert record(store, session("two")) == [new(1)]
    assert query(tmp_path, "SELECT correlation_id FROM session") == [("two",)]


@pytest.mark.parametrize("size", [1, 63, 64, 65, 127, 512])
def test_group_of_any_size_is_written_completely(tmp_path: Path, size: int) -> None:
    """Rows are inserted many at a time, in batches of powers of two."""
    captures = [session(f"s{n}") for n in range(size)]
    answers = [answer(f"s{n}", f"guest{n}@example.com") for n in range(size)]
    with opened(tmp_path) as store:
        record(store, *captures, *answers)
    assert query(tmp_path, "SELECT position FROM event ORDER BY 1") == [
        (n,) for n in range(1, 2 * size + 1)
    ]
    assert query(tmp_path, "SELECT position, correlation_id FROM session ORDER BY 1") == [
        (n + 1, f"s{n}") for n in range(size)
    ]
    assert query(tmp_path, "SELECT position, session_position FROM email_answer ORDER BY 1") == [
        (size + n, n) for n in range(1, size + 1)
    ]


def test_values_have_the_order_of_the_columns() -> None:
    """The journal builds its rows by hand, in this order."""
    event = ["position", "type", "session_position", "occurred_at_us", "monotonic_us"]
    session_or_answer = ["correlation_id", "query_locale", "closed", "status", "address"]
    event += ["boot_number", "body", "checksum"]
    assert [*event, *session_or_answer, "address_mark"] == COLUMNS


def test_session_missing_from_the_cache_is_found_in_the_database(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        record(store, session("one"), answer("one"))
    with opened(tmp_path) as store:
        assert record(store, session("two"), session("one")) == [new(3), repeat(1)]
    with opened(tmp_path) as store:
        assert record(store, answer("one"), OTHER, ACCEPTED) == [repeat(2), IdTaken(), repeat(2)]
    with opened(tmp_path) as store:
        assert record(store, DECLINED) == [new(4)]


def test_old_duplicate_id_does_not_fail_its_group(tmp_path: Path) -> None:
    """Only the database has it: the whole group is decided again, and nothing is written twice."""
    with opened(tmp_path) as store:
        record(store, session("one"))
    with opened(tmp_path) as store:
        assert record(store, session("two"), OTHER, session("three"), answer("three")) == [
            new(2),
            IdTaken(),
            new(3),
            new(4),
        ]
    assert len(query(tmp_path, "SELECT 1 FROM event")) == 4


@pytest.mark.parametrize("name", ["päron-日本-🛒", "with'quote\"and\\", "1", "null", "a/b c%20"])
def test_correlation_id_may_hold_any_characters(tmp_path: Path, name: str) -> None:
    started = SessionStarted(name, None, closed=False, body=b"{}")
    with opened(tmp_path) as store:
        assert record(store, started, started, answer(name)) == [new(1), repeat(1), new(2)]
        assert record(store, started, answer(name)) == [repeat(1), repeat(2)]


def test_group_of_several_statements_is_atomic(
    tmp_path: Path,
) -> None:
    many = [session(f"s{n}") for n in range(MAX_ROWS)]
    poison = SessionStarted("half a pair \ud800", None, closed=False, body=b"{}")
    with opened(tmp_path) as store:
        record(store, session("one"))
        with pytest.raises(UnicodeEncodeError):
            record(store, *many, poison)
    with opened(tmp_path) as store:
        outcomes = record(store, *many, OTHER)
    assert outcomes == [*(new(n + 2) for n in range(MAX_ROWS)), IdTaken()]
    assert len(query(tmp_path, "SELECT 1 FROM event")) == MAX_ROWS + 1


def test_purged_session_is_evicted_from_the_cache(tmp_path: Path) -> None:
    """Its id is free again, and a late answer to it finds no session."""
    with opened(tmp_path) as store:
        record(store, session("one"), session("two"))
        store.journal.clear_cache()
        store.run(lambda connection: connection.execute("DELETE FROM event WHERE position = 1"))
        store.run(lambda connection: connection.execute("DELETE FROM session WHERE position = 1"))
        assert record(store, answer("one"), session("one")) == [NoOpenSession(), new(3)]


@pytest.mark.parametrize(("repeated", "outcome"), [(session(), repeat(1)), (ACCEPTED, new(3))])
def test_repeat_of_a_row_lost_on_a_damaged_page_is_answered(
    tmp_path: Path, repeated: Capture, outcome: Recorded
) -> None:
    """An acknowledged row is missing; SQLite itself does not always notice."""
    with opened(tmp_path) as store:
        record(store, session(), ACCEPTED)
        store.journal.clear_cache()
        store.run(lambda connection: connection.execute("DELETE FROM event"))
        assert record(store, repeated) == [outcome]


def test_no_file_contains_a_plain_address(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        record(store, session(), ACCEPTED)
        names = {file.name for file in tmp_path.iterdir()}
        assert {"agent.db", "agent.db-wal"} <= names
        for file in tmp_path.iterdir():
            assert ADDRESS.encode() not in file.read_bytes(), file
            assert b"guest.one" not in file.read_bytes(), file
