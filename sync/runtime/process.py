"""Runs a program as a service: event loop, stop signals, systemd, and errors at start."""

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass

import uvloop

from sync.runtime import start as starting
from sync.runtime.logging import log_event
from sync.runtime.network.descriptors import raise_descriptor_limit
from sync.runtime.start import Rejected, Start
from sync.runtime.systemd.notify import USES_EARLIER, notify, systemd_notified

_log = logging.getLogger(__name__)
_RELOADED = "certificates, keys, passwords and tokens; other settings apply after a restart"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningService:
    """A running service: its address, health check, and a future set if it cannot go on.

    `ping` returns once the store has responded: True, or False if it could not be reached.
    `reload` reads its certificates, keys, passwords and tokens again.
    """

    host: str
    port: int
    ping: Callable[[], Awaitable[bool]]
    died: asyncio.Future[None] | None = None
    reload: Callable[[], None] = lambda: None


def run_service(
    name: str,
    start: Callable[[], AbstractAsyncContextManager[RunningService]],
    start_errors: tuple[type[Exception], ...],
    explain: Callable[[Exception], str],
    attempt: Start | None = None,
) -> int:
    """Run the service until SIGTERM or SIGINT; return exit code 0, or 1 after an error.

    `start_errors` are logged as one line, `NAME.not_started`, with the reason from `explain`.
    `attempt` is told that the service runs, or that reason.
    """
    attempt = attempt or Start()
    # All files are readable by their owner only: they contain addresses and keys.
    os.umask(0o077)
    raise_descriptor_limit()
    try:
        return uvloop.run(_run_until_stopped(name, start, attempt))
    except start_errors as error:
        attempt.reason = explain(error)
        log_event(_log, logging.ERROR, f"{name}.not_started", reason=attempt.reason)
        return 1


async def _run_until_stopped(
    name: str,
    start: Callable[[], AbstractAsyncContextManager[RunningService]],
    attempt: Start,
) -> int:
    stop = _stop_signal()
    async with start() as running, systemd_notified(running.ping, os.environ, os.getpid()):
        await asyncio.to_thread(attempt.running)
        if attempt.rejected is not None:
            _say_rejected(name, attempt.rejected)
        ends: list[asyncio.Future[None]] = [stop] if running.died is None else [stop, running.died]
        right_again = asyncio.ensure_future(_until_right_again(attempt))
        ends.append(right_again)
        with _reloading_on_hangup(name, running.reload):
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if right_again.done():
            attempt.is_to_restart = True
            log_event(_log, logging.INFO, f"{name}.configuration_right_again")
        right_again.cancel()
        log_event(_log, logging.INFO, f"{name}.stopping")
    has_died = running.died is not None and running.died.done()
    # After 1 every supervisor starts the service again, also one that leaves it ended after 0.
    return 1 if has_died or attempt.is_to_restart else 0


async def _until_right_again(attempt: Start) -> None:
    """Return once the rejected configuration would work; never if none was rejected."""
    if attempt.is_right_again is None:
        await asyncio.Event().wait()
    else:
        while True:
            await asyncio.sleep(starting.RECHECK_SECONDS)
            if await asyncio.to_thread(attempt.is_right_again):
                return


def _say_rejected(name: str, rejected: Rejected) -> None:
    """Tell log and systemd that the configuration is wrong and an older one is in use."""
    fields = {"reason": rejected.reason, "in_use_since": rejected.in_use.since}
    if rejected.in_use.changed:
        fields["narrowed_to_it"] = ", ".join(rejected.in_use.changed)
    log_event(_log, logging.ERROR, f"{name}.configuration_rejected", **fields)
    text = f"STATUS={USES_EARLIER}{rejected.in_use.since}. Wrong: {rejected.reason}"
    notify(text, os.environ)


@contextmanager
def _reloading_on_hangup(name: str, reload: Callable[[], None]) -> Iterator[None]:
    """Reload at SIGHUP while the block runs.

    Not by `add_signal_handler`: to remove that one restores the default, which ends the process.
    """
    loop = asyncio.get_running_loop()
    is_due = False

    def reload_and_log() -> None:
        nonlocal is_due
        is_due = False
        reload()
        log_event(_log, logging.INFO, f"{name}.reloaded", reason=_RELOADED)

    def on_hangup(_number: int, _frame: object) -> None:
        nonlocal is_due
        # One reload after the last of many signals is enough.
        if not is_due:
            is_due = True
            loop.call_soon_threadsafe(reload_and_log)

    before = signal.signal(signal.SIGHUP, on_hangup)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def _stop_signal() -> "asyncio.Future[None]":
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[None] = loop.create_future()

    def stop_once() -> None:
        if not stop.done():
            stop.set_result(None)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop_once)
    return stop


def explain_os_error(error: OSError, address: str, section: str) -> str:
    """Return a message for the operator: the file that failed, else the address in use.

    `section` is the section of the settings that has the port.
    """
    if error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    # asyncio's message repeats the address; the text of errno is enough.
    reason = os.strerror(error.errno) if error.errno else error
    return (
        f"cannot listen on {address} ({reason}): stop the program that uses the port, or set"
        f" [{section}] port"
    )
