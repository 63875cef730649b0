"""Run all checks in order: settings, machine, connection to head office."""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from yarl import URL

from agent.config import Settings
from agent.config.central import Protocol
from agent.doctor import (
    central,
    configuration,
    connection,
    disk_space,
    fsync,
    mounts,
    port,
    storage_directory,
    systemd_units,
)
from agent.doctor.store import database, findings, kept_data
from agent.store.files.lock import find_lock_holder
from agent.store.retention.delivery_times import RetentionWindow
from agent.uplink.central_connection import credentials, http_options
from sync.delivery.transports.central_client import CentralClient
from sync.delivery.transports.http_client import HttpClient
from sync.runtime.checks.check import Check
from sync.runtime.checks.units import Run

_REQUEST_SECONDS = 10.0

# Progress callback: called with the next step.
Show = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Instruments:
    """Clocks and command runner of the checks, and the limit of the integrity check.

    `seconds` is a monotonic clock.
    """

    now: Callable[[], datetime]
    seconds: Callable[[], float]
    run: Run
    integrity_seconds: float = 10.0


def run_checks(settings: Settings, instruments: Instruments, show: Show) -> list[Check]:
    """Run all checks. Changes nothing on this machine or at central."""
    url = settings.central.url
    checks = [
        configuration.check_configuration(settings),
        *configuration.check_certificates(settings, instruments.now()),
        configuration.check_names(settings.store, delivers=bool(url)),
        configuration.check_destination(url),
        *_check_machine(settings, instruments, show),
    ]
    if url:
        checks += asyncio.run(_check_central(settings, instruments, show))
    return checks


def _check_machine(settings: Settings, instruments: Instruments, show: Show) -> Iterator[Check]:
    api, storage, directory = settings.api, settings.storage, settings.storage.directory
    agent = find_lock_holder(directory)
    show("Checking the storage directory")
    yield storage_directory.check_directory(directory, storage.encryption_key_path)
    yield from disk_space.check_space(storage)
    place = storage_directory.nearest_existing(directory)
    mount = mounts.find_mount(place)
    yield mounts.check_file_system(mount)
    yield fsync.check_fsync(place, fsync.read_medium(mount), instruments.seconds)
    yield database.check_sqlite_version(sqlite3.sqlite_version_info)
    show("Checking the database")
    moved = None if agent is None else database.check_in_place(directory, agent)
    yield moved or database.check_integrity(directory, within_seconds=instruments.integrity_seconds)
    yield from database.check_lock(directory, time.sleep, agent)
    yield database.check_quarantine(directory, instruments.now())
    yield from _check_store(settings, instruments.now())
    show("Checking port and service")
    yield from port.check_ports(api.host, api.port, agent)
    yield systemd_units.check_units(instruments.run)


def _check_store(settings: Settings, now: datetime) -> list[Check]:
    directory = settings.storage.directory
    kept = RetentionWindow(settings.retention.delivered_days, round(now.timestamp() * 1e6))
    found = [
        findings.check_lost_captures(directory),
        findings.check_dead_letters(directory),
        findings.check_stuck(directory),
        findings.check_damaged_rows(directory),
        findings.check_addresses(directory, settings.storage.encryption_key_path),
        findings.check_epoch(directory, kept),
        findings.check_shared_name(directory),
        kept_data.check_copies(directory, now),
        kept_data.check_retention(directory, kept),
    ]
    if settings.central.url and settings.central.protocol is Protocol.BATCH:
        found.append(findings.check_terms(directory, now))
    return [check for check in found if check is not None]


async def _check_central(settings: Settings, instruments: Instruments, show: Show) -> list[Check]:
    target, now = settings.central, instruments.now
    options = http_options(settings, max_seconds=_REQUEST_SECONDS)
    url = URL(target.url, encoded=True)
    show("Checking the connection to head office")
    first_hop = URL(options.proxy) if options.proxy else url
    checks = [
        await connection.check_dns(first_hop, options.timeout_seconds),
        await connection.check_connection(url, options, now()),
    ]
    show("Checking head office")
    http = HttpClient(options)
    try:
        offset = await central.measure_clock_offset(http, url, now)
        client = CentralClient(http, target.url, credentials(settings, http), now)
        outcome = await central.probe_central(client, target.protocol)
    finally:
        await http.close()
    return [
        *checks,
        central.check_clock(offset),
        central.check_credentials(outcome, target.auth.kind),
        central.check_protocol(outcome, target.protocol),
    ]
