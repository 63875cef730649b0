"""Doctor tells what only the agent knows: lost captures, new epochs, unused terms, a lost key."""

import os
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.doctor.store.findings import (
    check_addresses,
    check_damaged_rows,
    check_dead_letters,
    check_epoch,
    check_lost_captures,
    check_terms,
)
from agent.store.crypto.old_keys import rotate
from agent.store.db.epochs import begin_epoch
from agent.store.db.transaction import transaction
from agent.store.files.high_water_mark import MARK_FILE
from agent.store.learned_terms import TermsFetch, keep_fetch
from agent.store.retention.delivery_times import RetentionWindow
from sync.protocol.terms_check import TermsFault
from sync.protocol.wire import RENUMBERED
from sync.runtime.checks.check import Check, Verdict
from tests.support.agent.store import (
    AT,
    KEY_FILE,
    EpochIds,
    answer,
    change,
    opened,
    record,
    session,
)

NOW = datetime(2026, 1, 31, tzinfo=UTC)
BEGAN = datetime.fromtimestamp(AT.wall_us / 1e6, UTC)


def terms_after(directory: Path, fetch: TermsFetch) -> Check | None:
    with opened(directory) as store, transaction(store.connection):
        keep_fetch(store.connection, fetch)
    return check_terms(directory, NOW)


def microseconds(at: datetime) -> int:
    return int(at.timestamp() * 1e6)


def kept_at(now: datetime) -> RetentionWindow:
    return RetentionWindow(30.0, microseconds(now))


@pytest.mark.process
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_user_who_may_not_enter_the_directory_gets_no_error(tmp_path: Path) -> None:
    place = Path(tempfile.mkdtemp(prefix="state-"))
    with opened(place) as store:
        record(store)
    os.seteuid(65534)
    try:
        assert check_lost_captures(place) is None
    finally:
        os.seteuid(0)
        shutil.rmtree(place)


def test_nothing_is_found_on_a_new_machine(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        record(store, session(), answer())
    assert check_lost_captures(tmp_path) is None
    assert check_epoch(tmp_path, kept_at(BEGAN)) is None
    assert check_terms(tmp_path, NOW) is None
    assert check_addresses(tmp_path, tmp_path / KEY_FILE) is None


def lose_two_captures(directory: Path) -> None:
    """Record two captures, delete the database, and let a new one begin."""
    epochs = EpochIds()
    with opened(directory, epochs) as store:
        record(store, session(), answer())
    (directory / "agent.db").unlink()
    with opened(directory, epochs):
        pass


def test_captures_that_only_the_mark_knows_are_a_fault_with_their_numbers(tmp_path: Path) -> None:
    lose_two_captures(tmp_path)
    found = check_lost_captures(tmp_path)
    assert found is not None
    assert found.verdict is Verdict.FAULT
    assert "2 captures that tills were told are recorded, epoch-1/1 to 2" in found.found


def test_loss_that_head_office_has_accepted_is_no_fault(tmp_path: Path) -> None:
    lose_two_captures(tmp_path)
    change(tmp_path, "UPDATE lost_captures SET acknowledged_at_us = 1")
    found = check_lost_captures(tmp_path)
    assert found is not None
    assert found.verdict is Verdict.PASS
    assert "epoch-1/1 to 2" in found.found


def test_epoch_that_began_without_a_mark_is_a_warning(tmp_path: Path) -> None:
    epochs = EpochIds()
    with opened(tmp_path, epochs) as store:
        record(store, session())
    (tmp_path / MARK_FILE).unlink()
    with opened(tmp_path, epochs):
        pass
    found = check_epoch(tmp_path, kept_at(BEGAN + timedelta(days=29)))
    assert found is not None
    assert found.verdict is Verdict.WARNING
    assert "mark is missing" in found.found
    assert check_epoch(tmp_path, kept_at(BEGAN + timedelta(days=31))) is None


def test_epoch_that_began_as_head_office_has_other_events_is_no_fault_of_the_disk(
    tmp_path: Path,
) -> None:
    with opened(tmp_path) as store, transaction(store.connection):
        begin_epoch(
            store.connection, "epoch-2", base_position=0, at_us=AT.wall_us, reason=RENUMBERED
        )
    found = check_epoch(tmp_path, kept_at(BEGAN))
    assert found is not None
    assert "cloned disk" in str(found.advice)
    assert "look into the disk" not in str(found.advice)


def test_refused_terms_are_a_warning_that_names_the_field(tmp_path: Path) -> None:
    fault = TermsFault("prompt", "contains a control character")
    found = terms_after(tmp_path, TermsFetch(microseconds(NOW), fault))
    assert found is not None
    assert "prompt: contains a control character" in found.found


def test_terms_not_fetched_for_a_day_are_a_warning(tmp_path: Path) -> None:
    fetched = TermsFetch(microseconds(NOW - timedelta(hours=23)))
    assert terms_after(tmp_path, fetched) is None
    found = terms_after(tmp_path, TermsFetch(microseconds(NOW - timedelta(hours=25))))
    assert found is not None
    assert "2026-01-29T23:00:00" in found.found


def test_addresses_under_a_replaced_key_are_a_fault(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        record(store, session(), answer())
    (tmp_path / KEY_FILE).unlink()
    with opened(tmp_path):
        pass
    found = check_addresses(tmp_path, tmp_path / KEY_FILE)
    assert found is not None
    assert found.verdict is Verdict.FAULT
    assert found.found == ("1 capture, epoch-1/2 to epoch-1/2, encrypted with a key that is lost")
    assert "put the key back from its copy" in found.advice


def test_addresses_under_an_old_key_are_no_fault(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        record(store, session(), answer())
    rotate(tmp_path / KEY_FILE, tmp_path)

    assert check_addresses(tmp_path, tmp_path / KEY_FILE) is None


def test_damaged_rows_are_named_with_their_reasons(tmp_path: Path) -> None:
    with opened(tmp_path):
        pass
    insert = "INSERT INTO damaged_row (table_name, row_key, reason, found_at_us) VALUES"
    change(tmp_path, f"{insert} ('epoch', '1', 'a planted reason', 0)")
    found = check_damaged_rows(tmp_path)
    assert found is not None
    assert found.found.endswith("set aside: 1 in epoch: a planted reason")


def test_captures_of_damaged_rows_are_named(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        record(store, session())
    insert = "INSERT INTO dead_letter (destination, position, error_code, error_message,"
    values = "('central', 1, 'DAMAGED', 'a planted one', 0, 1)"
    change(tmp_path, f"{insert} refused_at_us, attempts) VALUES {values}")
    found = check_damaged_rows(tmp_path)
    assert found is not None
    assert found.found.endswith("1 in event: set aside as a dead letter")


def test_refused_captures_are_named_with_their_codes(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        record(store, session(), answer(), session("two"))
    assert check_dead_letters(tmp_path) is None
    insert = "INSERT INTO dead_letter (destination, position, error_code, error_message,"
    for position, code in ((1, "ALTERED"), (2, "for guest@example.com"), (3, "ALTERED")):
        values = f"('central', {position}, '{code}', 'a reason', 0, 1)"
        change(tmp_path, f"{insert} refused_at_us, attempts) VALUES {values}")

    found = check_dead_letters(tmp_path)

    assert found is not None
    assert found.verdict is Verdict.WARNING
    assert found.found == "rejected: 3 captures; 2 ALTERED, 1 for [address]"


def test_discarded_dead_letters_are_no_finding(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        record(store, session())
    insert = "INSERT INTO dead_letter (destination, position, error_code, error_message,"
    change(
        tmp_path,
        f"{insert} refused_at_us, attempts, discarded_at_us)"
        " VALUES ('central', 1, 'ALTERED', 'a reason', 0, 1, 5)",
    )
    assert check_dead_letters(tmp_path) is None
