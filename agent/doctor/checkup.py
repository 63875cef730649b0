"""Run all checks in order: settings, machine, connection to head office."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from yarl import URL

from agent.config import Settings
from agent.doctor.central import (
    check_clock,
    check_credentials,
    check_protocol,
    measure_clock_offset,
    probe_central,
)
from agent.doctor.check import Check, fault
from agent.doctor.configuration import (
    CONFIGURATION,
    check_configuration,
    check_destination,
    check_names,
)
from agent.doctor.connection import check_connection, connect_to_central
from agent.doctor.database import (
    check_integrity,
    check_quarantine,
    check_sqlite_version,
    run_quick_check,
)
from agent.doctor.disk_space import check_database_size, check_free_disk, measure_space
from agent.doctor.dns import check_dns, resolve_host
from agent.doctor.fsync import (
    FsyncFacts,
    check_fsync,
    fsync_failed,
    measure_fsync,
    read_medium,
)
from agent.doctor.mounts import check_file_system, find_mount
from agent.doctor.port import check_port, find_listeners
from agent.doctor.storage_directory import (
    check_directory,
    find_lock_holder,
    nearest_existing,
    read_directory,
)
from agent.doctor.systemd_units import Run, check_units, read_units
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


def run_checks(settings: Settings, instruments: Instruments, show: Show) -> list[Check]:
    """Run all checks. Changes nothing on this machine or at central."""
    checks = [*_check_settings(settings), *_check_machine(settings, instruments, show)]
    if settings.central.url:
        checks += asyncio.run(_check_central(settings, instruments, show))
    return checks


def _check_settings(settings: Settings) -> Iterator[Check]:
    yield check_configuration(settings)
    yield check_names(settings.store, delivers=bool(settings.central.url))
    yield check_destination(settings.central.url)


def _check_machine(settings: Settings, instruments: Instruments, show: Show) -> Iterator[Check]:
    storage, directory = settings.storage, settings.storage.directory
    agent = find_lock_holder(directory, instruments.proc)
    show("Checking the storage directory")
    yield check_directory(read_directory(directory, storage.encryption_key_path))
    yield from _check_space(settings)
    yield from _check_disk(directory, instruments)
    yield check_sqlite_version(sqlite3.sqlite_version_info)
    show("Checking the database")
    seconds = instruments.integrity_seconds
    integrity = run_quick_check(directory, within_seconds=seconds, is_owned=agent is not None)
    yield check_integrity(integrity, seconds)
    yield check_quarantine(directory)
    show("Checking port and service")
    yield check_port(find_listeners(settings.api.host, settings.api.port, agent, instruments.proc))
    yield check_units(read_units(instruments.run))


def _check_space(settings: Settings) -> Iterator[Check]:
    try:
        facts = measure_space(settings.storage)
    except OSError as error:
        advice = "fix the storage directory first"
        yield fault("free disk", f"it cannot be measured ({error.strerror})", advice)
        return
    yield check_free_disk(facts)
    yield check_database_size(facts)


def _check_disk(directory: Path, instruments: Instruments) -> Iterator[Check]:
    place = nearest_existing(directory)
    mount = find_mount(place, instruments.proc)
    yield check_file_system(mount)
    try:
        median = measure_fsync(place, instruments.seconds)
    except OSError as error:
        yield fsync_failed(error)
        return
    yield check_fsync(FsyncFacts(median, read_medium(mount, instruments.sys)))


async def _check_central(settings: Settings, instruments: Instruments, show: Show) -> list[Check]:
    central, now = settings.central, instruments.now
    options = http_options(settings, max_seconds=_REQUEST_SECONDS)
    url = URL(central.url, encoded=True)
    show("Checking the connection to head office")
    first_hop = URL(options.proxy) if options.proxy else url
    lookup = await resolve_host(first_hop, options.timeout_seconds)
    connection = await connect_to_central(url, options)
    show("Checking head office")
    http = HttpClient(options)
    try:
        offset = await measure_clock_offset(http, url, now)
        client = CentralClient(http, central.url, credentials(settings, http), now)
        outcome = await probe_central(client, central.protocol)
    finally:
        await http.close()
    return [
        check_dns(lookup),
        check_connection(connection, now()),
        check_clock(offset),
        check_credentials(outcome, central.auth.kind),
        check_protocol(outcome, central.protocol),
    ]
