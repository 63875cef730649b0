"""Fixtures and markers for all folders."""

import gc
import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from sync.runtime.cli import discovery
from tests.support.fresh_schema import schema_by_migrations, schema_by_script
from tests.support.head_office.postgresql import PostgresqlServer, started_server

# No test asserts speed, so Hypothesis sets no deadline.
settings.register_profile("full", deadline=None)
settings.register_profile("fast", deadline=None, max_examples=20)
settings.load_profile("full")
# Commands speak the language of the locale; tests of others say so.
os.environ["LC_ALL"] = "C.UTF-8"

# Tests with one of these markers may start processes.
_MAY_START_PROCESSES = ("process", "postgresql", "browser", "campaign", "machine")
_POSTGRESQL_FIXTURES = {"postgresql_server", "crashing_postgresql_server"}
_without_processes: list[str] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need PostgreSQL or a browser, by their fixtures and parameters."""
    for item in items:
        assert isinstance(item, pytest.Function)
        parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
        if _POSTGRESQL_FIXTURES.intersection(item.fixturenames) or "postgresql" in {
            value for value in parameters if isinstance(value, str)
        }:
            item.add_marker("postgresql")
        if "browser" in item.fixturenames:
            item.add_marker("browser")


def pytest_collection_finish() -> None:
    """Exempt the collected tests from garbage collection, which would visit them each time."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Forbid processes in tests without a marker for them, so that `--fast` starts none.

    Each test begins with the usual umask: a service that ran in the one before has changed it.
    """
    os.umask(0o022)
    if not any(item.get_closest_marker(name) for name in _MAY_START_PROCESSES):
        _without_processes.append(item.nodeid)
    try:
        return (yield)
    finally:
        _without_processes.clear()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown() -> None:
    """Allow processes again: after the last test the session's fixtures are torn down."""
    _without_processes.clear()


def _forbid_processes(event: str, _arguments: tuple[Any, ...]) -> None:
    if event == "subprocess.Popen" and _without_processes:
        raise AssertionError(f"{_without_processes[0]} needs @pytest.mark.process")


sys.addaudithook(_forbid_processes)


@pytest.fixture(scope="session", autouse=True)
def _schema_by_script() -> Iterator[None]:
    with schema_by_script():
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_service_is_installed() -> Iterator[None]:
    """Isolate commands in this process from a service that is installed on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        # Not a directory: a program run as another user may have made one of any other name.
        patch.setattr(discovery, "ROOT", Path("/dev/null"))
        yield


@pytest.fixture
def real_migrations() -> Iterator[None]:
    """Create the schema of new files by the migrations, for tests of these."""
    with schema_by_migrations():
        yield


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresqlServer]:
    """Run one server for the whole session; each test creates its own database on it."""
    with started_server(survives_power_cuts=False) as server:
        yield server


@pytest.fixture
def crashing_postgresql_server() -> Iterator[PostgresqlServer]:
    """Run a server that a test may crash.

    Recovery syncs every file of the server: with the shared one this takes minutes on a busy disk.
    """
    with started_server() as server:
        yield server


@pytest.fixture
def open_umask() -> Iterator[None]:
    """Set the usual umask of a shell."""
    before = os.umask(0o022)
    yield
    os.umask(before)
