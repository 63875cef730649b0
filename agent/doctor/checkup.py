"""Run all checks in order: settings, machine, connection to head office."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from yarl import URL

from agent.config import Settings
from agent.doctor import (
    central,
    configuration,
    connection,
    database,
    disk_space,
    dns,
    fsync,
    mounts,
    port,
    storage_directory,
    systemd_units,
)
from agent.doctor.check import Check, fault
from agent.uplink.connection import credentials, http_options
from sync.delivery.transports.central_client import CentralClient
from sync.delivery.transports.http_client import HttpClient

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
    run: systemd_units.Run
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
    yield configuration.check_configuration(settings)
    yield configuration.check_names(settings.store, delivers=bool(settings.central.url))
    yield configuration.check_destination(settings.central.url)


def _check_machine(settings: Settings, instruments: Instruments, show: Show) -> Iterator[Check]:
    storage, directory = settings.storage, settings.storage.directory
    agent = storage_directory.find_lock_holder(directory, instruments.proc)
    show("Checking the storage directory")
    yield storage_directory.check_directory(
        storage_directory.read_directory(directory, storage.encryption_key_path)
    )
    yield from _check_space(settings)
    yield from _check_disk(directory, instruments)
    yield database.check_sqlite_version(sqlite3.sqlite_version_info)
    show("Checking the database")
    seconds = instruments.integrity_seconds
    integrity = database.run_quick_check(
        directory, within_seconds=seconds, is_owned=agent is not None
    )
    yield database.check_integrity(integrity, seconds)
    yield database.check_quarantine(directory)
    show("Checking port and service")
    yield port.check_port(
        port.find_listeners(settings.api.host, settings.api.port, agent, instruments.proc)
    )
    yield systemd_units.check_units(systemd_units.read_units(instruments.run))


def _check_space(settings: Settings) -> Iterator[Check]:
    try:
        facts = disk_space.measure_space(settings.storage)
    except OSError as error:
        advice = "fix the storage directory first"
        yield fault("free disk", f"it cannot be measured ({error.strerror})", advice)
        return
    yield disk_space.check_free_disk(facts)
    yield disk_space.check_database_size(facts)


def _check_disk(directory: Path, instruments: Instruments) -> Iterator[Check]:
    place = storage_directory.nearest_existing(directory)
    mount = mounts.find_mount(place, instruments.proc)
    yield mounts.check_file_system(mount)
    try:
        median = fsync.measure_fsync(place, instruments.seconds)
    except OSError as error:
        yield fsync.fsync_failed(error)
        return
    yield fsync.check_fsync(median, fsync.read_medium(mount, instruments.sys))


async def _check_central(settings: Settings, instruments: Instruments, show: Show) -> list[Check]:
    target, now = settings.central, instruments.now
    options = http_options(settings, max_seconds=_REQUEST_SECONDS)
    url = URL(target.url, encoded=True)
    show("Checking the connection to head office")
    first_hop = URL(options.proxy) if options.proxy else url
    lookup = await dns.resolve_host(first_hop, options.timeout_seconds)
    reached = await connection.connect_to_central(url, options)
    show("Checking head office")
    http = HttpClient(options)
    try:
        offset = await central.measure_clock_offset(http, url, now)
        client = CentralClient(http, target.url, credentials(settings, http), now)
        outcome = await central.probe_central(client, target.protocol)
    finally:
        await http.close()
    return [
        dns.check_dns(lookup),
        connection.check_connection(reached, now()),
        central.check_clock(offset),
        central.check_credentials(outcome, target.auth.kind),
        central.check_protocol(outcome, target.protocol),
    ]
