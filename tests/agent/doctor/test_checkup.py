"""All checks together, with and without a running agent; nothing is changed."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.config import Settings
from agent.config.central import AuthSettings, CentralSettings, Protocol
from agent.config.settings import ApiSettings, StoreSettings
from agent.doctor.checkup import Instruments, run_checks
from agent.store.db.transaction import transaction
from agent.store.learned_terms import TermsFetch, keep_fetch
from sync.runtime.checks.check import Check, Verdict
from sync.runtime.checks.units import Run
from tests.support.agent.in_process import agent_under_test, settings_in
from tests.support.agent.store import opened
from tests.support.central import ScriptedCentral

NAMED = StoreSettings(store_id="0042", till_id="till-1")
CHECKS_OF_MACHINE = [
    *("configuration", "store and till", "head office", "storage directory", "free disk"),
    *("database size", "file system", "fsync", "SQLite", "integrity", "quarantine", "port"),
    "service",
]
CHECKS_OF_CENTRAL = ["DNS", "connection", "clock", "credentials", "protocol"]


@pytest.fixture
async def central() -> AsyncIterator[ScriptedCentral]:
    async with ScriptedCentral() as scripted:
        yield scripted


def no_systemd(_: Sequence[str]) -> str | None:
    return None


def tools(run: Run = no_systemd) -> Instruments:
    return Instruments(lambda: datetime.now(UTC), time.perf_counter, run)


async def examined(settings: Settings) -> dict[str, Check]:
    """Run all checks in a thread: agent and central of the test use the event loop."""
    checks = await asyncio.to_thread(run_checks, settings, tools(), lambda _: None)
    assert len({check.name for check in checks}) == len(checks)
    return {check.name: check for check in checks}


def files_in(directory: Path) -> dict[str, bytes]:
    """Read all files except SQLite's shared memory, because readers write to it."""
    files = [file for file in directory.rglob("*") if file.is_file()]
    return {file.name: file.read_bytes() for file in files if not file.name.endswith("-shm")}


async def test_checks_run_in_the_order_of_a_capture(
    tmp_path: Path, central: ScriptedCentral
) -> None:
    settings = settings_in(tmp_path, central=CentralSettings(url=central.url), store=NAMED)

    assert list(await examined(settings)) == CHECKS_OF_MACHINE + CHECKS_OF_CENTRAL


async def test_connection_is_not_checked_without_central_url(tmp_path: Path) -> None:
    assert list(await examined(settings_in(tmp_path))) == CHECKS_OF_MACHINE


async def test_program_terms_are_checked_only_where_head_office_sends_them(
    tmp_path: Path, central: ScriptedCentral
) -> None:
    """A machine that delivered with `batch` before knows when it last fetched them."""
    url = central.url
    batch = settings_in(tmp_path, central=CentralSettings(url=url), store=NAMED)
    with opened(batch.storage.directory) as store, transaction(store.connection):
        keep_fetch(store.connection, TermsFetch(1, None))
    replay = settings_in(
        tmp_path, central=CentralSettings(url=url, protocol=Protocol.REPLAY), store=NAMED
    )
    assert "terms" in await examined(batch)
    assert "terms" not in await examined(replay)


async def test_checks_create_nothing_on_a_fresh_machine(tmp_path: Path) -> None:
    await examined(settings_in(tmp_path / "state"))

    assert files_in(tmp_path) == {}
    assert not (tmp_path / "state").exists()


async def test_running_agent_is_found_at_its_port_and_left_unchanged(
    tmp_path: Path, central: ScriptedCentral
) -> None:
    settings = settings_in(tmp_path, store=NAMED)
    async with agent_under_test(settings) as agent:
        await agent.start_session({"correlationId": "one"})
        before = files_in(tmp_path)
        port = ApiSettings(port=agent.address.port)
        found = await examined(settings.model_copy(update={"api": port}))

        assert files_in(tmp_path) == before
        assert (await agent.start_session({"correlationId": "two"})).status == 200
    assert found["port"].verdict is Verdict.PASS
    assert "the agent (process" in found["port"].found
    assert found["integrity"].verdict is Verdict.PASS


async def test_every_warning_and_fault_has_advice(tmp_path: Path) -> None:
    auth = AuthSettings.model_validate({"kind": "bearer", "token_file": tmp_path / "absent"})
    central = CentralSettings(url="http://127.0.0.1:1", auth=auth)

    found = await examined(settings_in(tmp_path / "file", central=central))

    assert found["configuration"].verdict is Verdict.FAULT
    assert found["connection"].verdict is Verdict.FAULT
    assert [c.name for c in found.values() if bool(c.advice) == (c.verdict is Verdict.PASS)] == []


async def test_rejected_token_is_a_credentials_fault_with_a_working_connection(
    tmp_path: Path, central: ScriptedCentral
) -> None:
    central.credentials = {"Bearer right"}
    (tmp_path / "token").write_text("wrong\n")
    auth = AuthSettings.model_validate({"kind": "bearer", "token_file": tmp_path / "token"})
    settings = settings_in(
        tmp_path / "state", store=NAMED, central=CentralSettings(url=central.url, auth=auth)
    )

    found = await examined(settings)

    assert found["connection"].verdict is Verdict.PASS
    assert found["clock"].verdict is Verdict.PASS
    assert found["credentials"].verdict is Verdict.FAULT
    assert not any("wrong" in check.found + check.advice for check in found.values())
