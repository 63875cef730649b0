"""Run all checks in order: settings, machine, connection to head office."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from yarl import URL

from agent.config import Settings
from agent.doctor.central import (
    ask_central,
    judge_clock,
    judge_credentials,
    judge_protocol,
    look_at_clock,
)
from agent.doctor.check import Check, fault
from agent.doctor.configuration import (
    CONFIGURATION,
    check_configuration,
    judge_destination,
    judge_names,
)
from agent.doctor.connectivity import (
    judge_connection,
    judge_name,
    look_at_connection,
    look_at_name,
)
from agent.doctor.database import (
    judge_integrity,
    judge_set_aside,
    judge_sqlite,
    look_at_integrity,
    look_at_set_aside,
)
from agent.doctor.disk_space import judge_database_size, judge_free_disk, look_at_room
from agent.doctor.fsync import (
    SyncFacts,
    could_not_sync,
    judge_syncing,
    look_at_medium,
    measure_syncing,
)
from agent.doctor.mounts import judge_file_system, look_at_mount
from agent.doctor.port import judge_port, look_at_port
from agent.doctor.storage_directory import (
    find_lock_holder,
    judge_directory,
    look_at_directory,
    nearest_existing,
)
from agent.doctor.systemd_units import Run, judge_units, look_at_units
from agent.uplink.connection import credentials, http_options
from sync.delivery.transports.central_client import CentralClient
from sync.delivery.transports.http_client import HttpClient

__all__ = ["CONFIGURATION", "Instruments", "run_checks"]
_REQUEST_SECONDS = 10.0

# Progress callback: called with the next step.
Show = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Instruments:
    """Dependencies of the checks: clocks, kernel file systems, command runner.

    `seconds` is a monotonic clock; `integrity_seconds` limits the integrity check.
    """

    now: Callable[[], datetime]
    seconds: Callable[[], float]
    run: Run
    integrity_seconds: float = 10.0
    proc: Path = Path("/proc")
    sys: Path = Path("/sys")


def run_checks(settings: Settings, tools: Instruments, show: Show) -> list[Check]:
    """Run all checks. Changes nothing on this machine or at central."""
    checks = [*_settings(settings), *_machine(settings, tools, show)]
    if settings.central.url:
        checks += asyncio.run(_line(settings, tools, show))
    return checks


def _settings(settings: Settings) -> Iterator[Check]:
    yield check_configuration(settings)
    yield judge_names(settings.store, delivers=bool(settings.central.url))
    yield judge_destination(settings.central.url)


def _machine(settings: Settings, tools: Instruments, show: Show) -> Iterator[Check]:
    storage, directory = settings.storage, settings.storage.directory
    agent = find_lock_holder(directory, tools.proc)
    show("the storage directory")
    yield judge_directory(look_at_directory(directory, storage.encryption_key_path))
    yield from _room(settings)
    yield from _disk(directory, tools)
    yield judge_sqlite(sqlite3.sqlite_version_info)
    show("the database")
    seconds = tools.integrity_seconds
    integrity = look_at_integrity(directory, within_seconds=seconds, is_owned=agent is not None)
    yield judge_integrity(integrity, seconds)
    yield judge_set_aside(look_at_set_aside(directory))
    show("port and service")
    yield judge_port(look_at_port(settings.api.host, settings.api.port, agent, tools.proc))
    yield judge_units(look_at_units(tools.run))


def _room(settings: Settings) -> Iterator[Check]:
    try:
        facts = look_at_room(settings.storage)
    except OSError as error:
        advice = "see to the storage directory first"
        yield fault("free disk", f"it cannot be measured ({error.strerror})", advice)
        return
    yield judge_free_disk(facts)
    yield judge_database_size(facts)


def _disk(directory: Path, tools: Instruments) -> Iterator[Check]:
    place = nearest_existing(directory)
    mount = look_at_mount(place, tools.proc)
    yield judge_file_system(mount)
    try:
        median = measure_syncing(place, tools.seconds)
    except OSError as error:
        yield could_not_sync(error)
        return
    yield judge_syncing(SyncFacts(median, look_at_medium(mount, tools.sys)))


async def _line(settings: Settings, tools: Instruments, show: Show) -> list[Check]:
    return [check async for check in _look_along_the_line(settings, tools, show)]


async def _look_along_the_line(
    settings: Settings, tools: Instruments, show: Show
) -> AsyncIterator[Check]:
    central, rules = settings.central, http_options(settings, max_seconds=_REQUEST_SECONDS)
    url = URL(central.url, encoded=True)
    show("the way to head office")
    called = URL(rules.proxy) if rules.proxy else url
    yield judge_name(await look_at_name(called, rules.timeout_seconds))
    reached = await look_at_connection(url, rules)
    yield judge_connection(reached, tools.now())
    show("head office")
    line = HttpClient(rules)
    try:
        yield judge_clock(await look_at_clock(line, url, tools.now))
        caller = CentralClient(line, central.url, credentials(settings, line), tools.now)
        heard = await ask_central(caller, central.protocol)
    finally:
        await line.close()
    yield judge_credentials(heard, central.auth.kind)
    yield judge_protocol(heard, central.protocol)
