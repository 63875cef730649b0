"""The result counts each kind of fault."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import pytest

from agent.drill.result import DrillResult, compare, count_records
from agent.drill.simulated_tills import EMAIL, SESSION, Receipts

# The receiver's tables without the constraints that would reject the planted faults.
TABLES = """
CREATE TABLE sessions (correlation_id, body, epoch, sequence);
CREATE TABLE email_answers (correlation_id, email_address, epoch, sequence);
INSERT INTO sessions VALUES ('one', 'body-one', 'epoch', 1), ('two', 'body-two', 'epoch', 3);
INSERT INTO email_answers
VALUES ('one', 'one@example.com', 'epoch', 2), ('two', 'two@example.com', 'epoch', 4);
"""
CLEAN = DrillResult(captured=4, acknowledged=4, at_head_office=4)
FAULTS = {
    "DELETE FROM sessions WHERE sequence = 3": {"lost": 1, "out_of_order": 1},
    "DELETE FROM email_answers": {"lost": 2},
    "INSERT INTO sessions VALUES ('one', 'body-one', 'epoch', 5)": {"duplicated": 1, "changed": 1},
    "INSERT INTO sessions VALUES ('three', 'body', 'epoch', 5)": {"unknown": 1},
    "UPDATE sessions SET body = 'other' WHERE sequence = 1": {"changed": 1},
    "UPDATE email_answers SET email_address = 'b@example.com' WHERE sequence = 2": {"changed": 1},
    "UPDATE email_answers SET email_address = NULL WHERE sequence = 2": {"changed": 1},
    "UPDATE sessions SET sequence = 9 WHERE sequence = 3": {"changed": 1, "out_of_order": 1},
}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "hq.db", isolation_level=None)) as connection:
        connection.executescript(TABLES)
        yield connection


@pytest.fixture
def receipts() -> Receipts:
    requested = {}
    for name in ("one", "two"):
        requested[SESSION, name] = f"body-{name}"
        requested[EMAIL, name] = f"{name}@example.com"
    promised = {name: f"epoch/{number}" for number, name in enumerate(requested, 1)}
    return Receipts(requested, promised)


def test_complete_ordered_unchanged_records_pass(
    database: sqlite3.Connection, receipts: Receipts, tmp_path: Path
) -> None:
    result = compare(receipts, tmp_path / "hq.db")
    assert result == CLEAN
    assert result.is_good


@pytest.mark.parametrize(("fault", "found"), FAULTS.items())
def test_each_fault_is_counted_and_fails(
    database: sqlite3.Connection,
    receipts: Receipts,
    tmp_path: Path,
    fault: str,
    found: dict[str, int],
) -> None:
    database.execute(fault)
    result = compare(receipts, tmp_path / "hq.db")
    wrong = asdict(result).items() - asdict(CLEAN).items()
    assert {name: count for name, count in wrong if name != "at_head_office"} == found
    assert not result.is_good


def test_unacknowledged_capture_fails(
    database: sqlite3.Connection, receipts: Receipts, tmp_path: Path
) -> None:
    receipts.requested[SESSION, "three"] = "body-three"
    assert not compare(receipts, tmp_path / "hq.db").is_good


def test_drill_without_captures_fails() -> None:
    assert not DrillResult().is_good


def test_database_without_tables_counts_as_empty(tmp_path: Path) -> None:
    assert count_records(tmp_path / "hq.db") == 0
