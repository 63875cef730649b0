"""Queries for capture states and status; their cost does not grow with the tables."""

import sqlite3
from pathlib import Path

import pytest

from agent.facts import DeliveryState, EmailStatus
from agent.store.db.connect import DATABASE_FILE, read_only
from agent.store.files.quarantine import quarantine
from agent.store.queries.epoch_progress import EpochProgress
from agent.store.queries.reader import StoreReader
from tests.support.agent.store import AT, EpochIds, answer, change, opened, record, session

WAITING, DELIVERED, REFUSED = DeliveryState


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return a closed store: session one (1), its answers (2, 3), session two (4)."""
    with opened(tmp_path) as store:
        record(store, session("one"), answer("one", status=EmailStatus.DEFERRED))
        record(store, answer("one"), session("two"))
    return tmp_path


def dead_letter(destination: str, position: int) -> str:
    """Return the statement that makes the event at `position` a dead letter."""
    values = f"'{destination}', {position}, 'CODE', 'message', 1, 1"
    columns = "destination, position, error_code, error_message, refused_at_us, attempts"
    return f"INSERT INTO dead_letter ({columns}) VALUES ({values})"  # noqa: S608 - values of this test


def states(directory: Path, name: str = "one") -> list[tuple[int, DeliveryState, int | None]]:
    """Return sequence, state and delivery time of each capture of a session."""
    return [
        (capture.receipt.sequence, capture.state, capture.delivered_at_us)
        for capture in StoreReader(directory).session(name)
    ]


def test_undelivered_captures_are_waiting(directory: Path) -> None:
    assert states(directory) == [(n, WAITING, None) for n in (1, 2, 3)]
    assert states(directory, "two") == [(4, WAITING, None)]


def test_session_is_followed_by_its_answers_in_order(directory: Path) -> None:
    captures = StoreReader(directory).session("one")
    assert [capture.status for capture in captures] == [None, "deferred", "accepted"]
    assert {capture.captured_at_us for capture in captures} == {AT.wall_us}


def test_unknown_session_has_no_captures(directory: Path) -> None:
    assert StoreReader(directory).session("unknown") == []


def test_event_is_delivered_at_the_time_the_watermark_passed_it(directory: Path) -> None:
    change(
        directory,
        "INSERT INTO destination (name, watermark) VALUES ('central', 2)",
        "INSERT INTO delivery VALUES ('central', 1, 111), ('central', 2, 222)",
    )
    assert states(directory) == [(1, DELIVERED, 111), (2, DELIVERED, 222), (3, WAITING, None)]


def test_clock_set_back_between_deliveries_does_not_mix_up_their_times(directory: Path) -> None:
    """The first acknowledgement that covers an event counts, not the smallest time."""
    change(
        directory,
        "INSERT INTO destination (name, watermark) VALUES ('central', 4)",
        "INSERT INTO delivery VALUES ('central', 2, 999), ('central', 4, 5)",
    )
    assert states(directory) == [(1, DELIVERED, 999), (2, DELIVERED, 999), (3, DELIVERED, 5)]


def test_event_settled_ahead_of_the_watermark_is_delivered(directory: Path) -> None:
    change(directory, "INSERT INTO settled VALUES ('central', 3, 333)")
    assert states(directory) == [(1, WAITING, None), (2, WAITING, None), (3, DELIVERED, 333)]


def test_dead_letter_is_refused_not_delivered(directory: Path) -> None:
    change(
        directory,
        "INSERT INTO destination (name, watermark) VALUES ('central', 4)",
        "INSERT INTO delivery VALUES ('central', 4, 444)",
        dead_letter("central", 2),
    )
    assert states(directory) == [(1, DELIVERED, 444), (2, REFUSED, None), (3, DELIVERED, 444)]


def test_other_destinations_do_not_affect_central(directory: Path) -> None:
    change(
        directory,
        "INSERT INTO destination (name, watermark) VALUES ('elsewhere', 4)",
        "INSERT INTO delivery VALUES ('elsewhere', 4, 444)",
        "INSERT INTO settled VALUES ('elsewhere', 3, 333)",
        dead_letter("elsewhere", 2),
    )
    assert states(directory) == [(n, WAITING, None) for n in (1, 2, 3)]
    assert StoreReader(directory).status().waiting == 4


def test_status_counts_pending_events(directory: Path) -> None:
    change(
        directory,
        "INSERT INTO destination (name, watermark) VALUES ('central', 1)",
        "INSERT INTO settled VALUES ('central', 3, 333)",
        "UPDATE event SET occurred_at_us = 10 * position",
    )
    status = StoreReader(directory).status()
    assert status.epochs == [EpochProgress("epoch-1", 4, 1)]
    assert (status.waiting, status.oldest_waiting_at_us, status.dead_letters) == (2, 20, 0)
    assert status.database_bytes == (directory / DATABASE_FILE).stat().st_size
    assert status.free_bytes > 0
    assert status.quarantined == []


def test_watermark_in_an_earlier_epoch_is_zero_in_the_current_one(directory: Path) -> None:
    """Beside a last sequence of 1, a watermark of 3 would mean "all delivered"."""
    change(
        directory,
        "INSERT INTO destination (name, watermark) VALUES ('central', 3)",
        "INSERT INTO delivery VALUES ('central', 3, 333)",
        "INSERT INTO epoch VALUES (2, 'epoch-2', 4, 0, 'a test', 0)",
    )
    with opened(directory, EpochIds()) as store:
        record(store, session("three"))
    status = StoreReader(directory).status()
    assert status.epochs == [
        EpochProgress("epoch-1", 4, 3, ended_reason="a test"),
        EpochProgress("epoch-2", 1, 0),
    ]
    assert status.waiting == 2


def test_status_of_an_empty_store_has_no_pending_events(tmp_path: Path) -> None:
    with opened(tmp_path):
        status = StoreReader(tmp_path).status()
    assert (status.current, status.waiting) == (EpochProgress("epoch-1", 0, 0), 0)
    assert status.oldest_waiting_at_us is None


def test_status_lists_quarantined_databases_oldest_first(directory: Path) -> None:
    for _ in range(2):
        quarantine(directory / DATABASE_FILE, AT.wall_us)
        with opened(directory):
            pass
    assert StoreReader(directory).status().quarantined == ["20231114T221320Z", "20231114T221320Z-2"]


def test_reader_sees_commits_and_does_not_block_checkpoints(tmp_path: Path) -> None:
    """Its connection is closed again, so a checkpoint can copy the whole WAL at once."""
    with opened(tmp_path) as store:
        record(store, session("one"))
        assert states(tmp_path) == [(1, WAITING, None)]
        ((busy, in_wal, carried),) = store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert (busy, in_wal, carried) == (0, 0, 0)


def test_reader_cannot_write(tmp_path: Path) -> None:
    with (
        opened(tmp_path),
        read_only(tmp_path) as connection,
        pytest.raises(sqlite3.OperationalError, match="readonly"),
    ):
        connection.execute("DELETE FROM epoch")


def test_missing_database_is_an_error_and_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        StoreReader(tmp_path).status()
    assert not list(tmp_path.iterdir())
