"""The service frame: exit codes, stop signals, and one log line for an error at start."""

import asyncio
import errno
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest

from sync.runtime.process import RunningService, explain_os_error, run_service


async def ping() -> bool:
    return True


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """Restore the umask, which a service changes for its process."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def run(event: Callable[[RunningService], None]) -> int:
    """Run a service in which `event` happens right after the start."""

    @asynccontextmanager
    async def start() -> AsyncIterator[RunningService]:
        died = asyncio.get_running_loop().create_future()
        service = RunningService(host="127.0.0.1", port=8480, ping=ping, died=died)
        event(service)
        yield service

    return run_service("agent", start, (OSError,), lambda error: f"explained: {error}")


def die(service: RunningService) -> None:
    assert service.died is not None
    service.died.set_result(None)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_signal_ends_the_service_with_exit_code_0(number: signal.Signals) -> None:
    assert run(lambda _: os.kill(os.getpid(), number)) == 0


def test_service_that_cannot_go_on_ends_with_exit_code_1() -> None:
    assert run(die) == 1


def test_error_at_start_is_one_log_line_with_its_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(_: RunningService) -> None:
        raise OSError("no disk")

    assert run(fail) == 1

    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.ERROR, "agent.not_started")
    assert vars(record)["fields"] == {"reason": "explained: no disk"}


def test_files_of_a_service_are_readable_by_its_user_only() -> None:
    run(die)

    assert os.umask(0o022) == 0o077


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.EACCES, "Permission denied", "/data/agent.lock"), "/data/agent.lock: Perm"),
        (OSError(errno.EADDRINUSE, "error while attempting to bind"), "(Address already in use)"),
        (OSError("no such interface"), "cannot listen on 127.0.0.1:8480 (no such interface): stop"),
    ],
)
def test_start_error_names_the_file_or_the_address(error: OSError, message: str) -> None:
    assert message in explain_os_error(error, "127.0.0.1:8480", "api")


async def reload_often(service: RunningService, signals: int) -> None:
    """Send SIGHUPs as soon as the service reloads at one, then end the service."""
    before = signal.getsignal(signal.SIGHUP)
    while signal.getsignal(signal.SIGHUP) == before:  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0)
    for _ in range(signals):
        os.kill(os.getpid(), signal.SIGHUP)
    # A signal between two iterations is handled in the next one.
    for _ in range(3):
        await asyncio.sleep(0)
    die(service)


def test_many_hangup_signals_at_once_are_one_reload(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    tasks = []

    run(lambda service: tasks.append(asyncio.ensure_future(reload_often(service, 50))))

    events = [record.getMessage() for record in caplog.records]
    assert events.count("agent.reloaded") == 1
