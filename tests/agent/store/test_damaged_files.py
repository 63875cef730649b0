"""Damaged database files: captures go on, nothing is deleted, the status reports it."""

import asyncio
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.facts import Recorded
from agent.store.db.connect import DATABASE_FILE
from agent.store.files.quarantine import QUARANTINE, has_orphan_wal, list_quarantined, quarantine
from agent.store.files.storage_errors import StorageDamagedError
from agent.store.queries.reader import StoreReader
from agent.store.store import Store
from agent.store.writer import Writer
from tests.support.agent.damage import (
    DAMAGES,
    NAMES,
    Aftermath,
    apply_damage,
    captures_on_disk,
    damage_somewhere,
    is_recorded,
    killed_store,
    restart_on,
)
from tests.support.agent.outbox import ignore_commit
from tests.support.agent.store import AT, EpochIds, opened, opener, record, session

UNSEEN = {"a garbage header", "a garbage WAL index"}
SOME, MANY = NAMES[::40], NAMES[::5]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the files of a killed agent; copy them before use."""
    return killed_store(tmp_path_factory.mktemp("killed"))


@pytest.fixture
def directory(killed: Path, tmp_path: Path) -> Path:
    """Return a copy of these files."""
    return Path(shutil.copytree(killed, tmp_path / "state"))


async def test_undamaged_files_lose_nothing(directory: Path) -> None:
    """Control case for the tests below."""
    aftermath = await restart_on(directory, SOME)
    assert aftermath.new_receipt == f"epoch-1/{len(NAMES) + 1}"
    assert all(isinstance(old, Recorded) and old.repeated for old in aftermath.again)
    assert aftermath.live == {*NAMES, "new"}
    assert aftermath.quarantined == []


@dataclass(frozen=True, slots=True)
class Case:
    """Damaged files, and an agent that was started on them and served new and repeated sessions."""

    damage: str
    before: set[str]
    aftermath: Aftermath
    after: set[str]


@pytest.fixture(scope="module", params=list(DAMAGES))
def case(
    request: pytest.FixtureRequest, killed: Path, tmp_path_factory: pytest.TempPathFactory
) -> Case:
    """Return the case of one kind of damage."""
    directory = Path(shutil.copytree(killed, tmp_path_factory.mktemp("damaged") / "state"))
    apply_damage(DAMAGES[request.param], directory)
    before = captures_on_disk(directory)
    aftermath = asyncio.run(restart_on(directory, MANY))
    return Case(request.param, before, aftermath, captures_on_disk(directory))


def test_damage_loses_captures(case: Case) -> None:
    """Except for damage that SQLite repairs, or that is detected only on access."""
    assert bool(set(NAMES) - case.aftermath.seen) is (case.damage not in UNSEEN)


def test_damaged_files_do_not_stop_new_captures(case: Case) -> None:
    assert is_recorded(case.aftermath.new)


def test_nothing_salvageable_is_deleted_from_damaged_files(case: Case) -> None:
    """Bytes that could be salvaged before can be salvaged afterwards."""
    assert case.before <= case.after


def test_lost_captures_start_a_new_epoch(case: Case) -> None:
    """Head office may already have events with their numbers."""
    if set(NAMES) - case.aftermath.seen:
        assert case.aftermath.new_receipt == "epoch-2/1"
    else:
        assert case.aftermath.new_receipt == f"epoch-1/{len(NAMES) + 1}"


def test_quarantined_captures_are_reported_in_the_status(case: Case) -> None:
    if (set(NAMES) - case.aftermath.seen) & case.before:
        assert case.aftermath.quarantined


def test_captures_repeated_after_damage_are_recorded_or_recognised(case: Case) -> None:
    assert [outcome for outcome in case.aftermath.again if not is_recorded(outcome)] == []
    assert case.aftermath.live >= set(MANY)


@pytest.mark.parametrize("seed", range(20))
async def test_random_damage_does_not_stop_captures(directory: Path, seed: int) -> None:
    damage_somewhere(directory, random.Random(seed))
    before = captures_on_disk(directory)
    aftermath = await restart_on(directory, SOME)
    assert is_recorded(aftermath.new)
    assert before <= captures_on_disk(directory)


@pytest.mark.campaign
def test_a_thousand_random_damages_do_not_stop_captures(killed: Path, tmp_path: Path) -> None:
    for seed in range(1000, 2000):
        directory = Path(shutil.copytree(killed, tmp_path / str(seed)))
        damage_somewhere(directory, random.Random(seed))
        before = captures_on_disk(directory)
        aftermath = asyncio.run(restart_on(directory, SOME))
        assert is_recorded(aftermath.new), seed
        assert before <= captures_on_disk(directory), seed
        shutil.rmtree(directory)


def test_quarantined_database_is_complete_in_a_directory_named_for_the_time(tmp_path: Path) -> None:
    database = tmp_path / DATABASE_FILE
    for suffix in ("", "-wal", "-journal", "-shm"):
        database.with_name(database.name + suffix).write_text(suffix)
    kept_at = quarantine(database, AT.wall_us)
    assert kept_at == tmp_path / QUARANTINE / "20231114T221320Z" / DATABASE_FILE
    assert {file.name for file in kept_at.parent.iterdir()} == {
        DATABASE_FILE,
        f"{DATABASE_FILE}-wal",
        f"{DATABASE_FILE}-journal",
    }
    assert [file.name for file in tmp_path.iterdir()] == [QUARANTINE]


def test_databases_quarantined_within_a_second_get_their_own_directories(tmp_path: Path) -> None:
    database = tmp_path / DATABASE_FILE
    for content in ("one", "two", "three"):
        database.write_text(content)
        quarantine(database, AT.wall_us)
    kept = sorted((tmp_path / QUARANTINE).iterdir())
    assert [place.name.removeprefix("20231114T221320Z") for place in kept] == ["", "-2", "-3"]
    assert [(place / DATABASE_FILE).read_text() for place in kept] == ["one", "two", "three"]


async def test_wal_of_a_running_agent_stays_with_its_quarantined_database(tmp_path: Path) -> None:
    """Closing wrote its frames into the file, damaged ones too, and deleted it."""

    def find_damage(_: Store) -> None:
        raise StorageDamagedError("a page is damaged")

    writer = Writer(opener(tmp_path), ignore_commit)
    writer.start()
    try:
        await writer.record(session("one"), AT)
        with pytest.raises(StorageDamagedError):
            await writer.run(find_damage)
    finally:
        await writer.close()

    (name,) = list_quarantined(tmp_path)
    wal = tmp_path / QUARANTINE / name / f"{DATABASE_FILE}-wal"
    assert session("one").body in wal.read_bytes()


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, False),
        ({"": "content"}, False),
        ({"": "content", "-wal": "content"}, False),
        ({"-wal": "content"}, True),
        ({"-journal": "content"}, True),
        ({"": "", "-wal": "content"}, True),
        ({"": "", "-wal": ""}, False),
        ({"": "", "-journal": "content"}, False),
    ],
)
def test_wal_without_its_database_is_detected(
    tmp_path: Path,
    files: dict[str, str],
    expected: bool,  # noqa: FBT001 - a case
) -> None:
    """An empty file with a journal is a database whose first write was interrupted."""
    for suffix, content in files.items():
        (tmp_path / f"{DATABASE_FILE}{suffix}").write_text(content)
    assert has_orphan_wal(tmp_path / DATABASE_FILE) is expected


def test_quarantined_database_can_be_restored(tmp_path: Path) -> None:
    """By hand, with the agent stopped: its files are unchanged."""
    epochs = EpochIds()
    with opened(tmp_path, epochs) as store:
        record(store, session("one"))
    kept_at = quarantine(tmp_path / DATABASE_FILE, AT.wall_us)
    with opened(tmp_path, epochs):
        assert StoreReader(tmp_path).session("one") == []
    for file in kept_at.parent.iterdir():
        file.replace(tmp_path / file.name)
    with opened(tmp_path, epochs):
        assert len(StoreReader(tmp_path).session("one")) == 1
