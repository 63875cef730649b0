"""Run all checks of head office in order: settings, machine, database."""

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path

import uvloop

from sync.receiver.auth.readers_token import FILE_NAME
from sync.receiver.config import DATABASE_FILE, SERVICE, ReceiverSettings
from sync.receiver.doctor.postgresql import check_postgresql
from sync.receiver.doctor.sqlite import check_room, check_sqlite
from sync.receiver.doctor.start_errors import makes_own_token, uses_directory
from sync.runtime.checks.certificate import describe_end
from sync.runtime.checks.check import Check, Verdict, fault, passed, warning
from sync.runtime.checks.directories import find_directory_errors, owner_or_self
from sync.runtime.checks.listening import find_listening_problem
from sync.runtime.checks.named_files import check_named_files
from sync.runtime.checks.units import Run, check_unit
from sync.runtime.checks.variables import check_variables
from sync.runtime.files.ownership import acting_as_owner
from sync.runtime.network.own_certificate import read_end

_STORAGE, _TOKEN, _CERTIFICATE, _PORT = "storage directory", "readers", "certificate", "port"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def run_checks(
    settings: ReceiverSettings,
    environ: Mapping[str, str],
    now: Callable[[], datetime],
    run: Run,
    show: Callable[[str], None],
) -> list[Check]:
    """Run all checks. Changes nothing on this machine or in the database."""
    checks = [
        check_named_files(settings),
        *check_variables(ReceiverSettings, environ),
        *check_directory(settings),
        check_readers(settings),
        check_certificate(settings, now()),
        check_port(settings),
        check_unit("loyalty-hq.service", run),
    ]
    show("Checking the database")
    if not settings.is_on_postgresql:
        with acting_as_owner(settings.database_path.parent):
            return [*checks, *check_sqlite(settings)]
    if checks[0].verdict is not Verdict.PASS:
        return checks  # the password may be unreadable
    return [*checks, *uvloop.run(check_postgresql(settings, now()))]


def check_directory(settings: ReceiverSettings) -> Iterator[Check]:
    """Check that only head office can use its directory, and the room in it."""
    directory = settings.storage.directory
    if not uses_directory(settings):
        yield passed(_STORAGE, "not used: the database is elsewhere, and readers have a token")
        return
    errors = [*find_directory_errors(directory, "storage.directory", owner_or_self(directory))]
    if errors:
        advice = "head office does not start like that: correct it, or set another directory"
        yield fault(_STORAGE, "; ".join(f"{one.place}: {one.message}" for one in errors), advice)
        return
    if not directory.exists():
        yield passed(_STORAGE, f"{directory} is made at the first start")
    elif opened := sorted(_open_to_others(directory)):
        advice = f"chmod go-rwx {' '.join(opened)}: they hold addresses and tokens"
        yield warning(_STORAGE, f"other users may read {', '.join(opened)}", advice)
    else:
        yield passed(_STORAGE, f"{directory}: other users have no access")
    if settings.is_on_postgresql:
        yield check_room(directory, 0)


def check_readers(settings: ReceiverSettings) -> Check:
    """Report the access of readers: open, by a proxy's header, or with a token."""
    access = settings.access
    if access.open_on_loopback:
        return passed(_TOKEN, "every user of this machine reads without a token")
    if access.trusted_proxy_header and access.admin_token_file is None:
        proxies = ", ".join(access.trusted_proxies)
        return passed(_TOKEN, f"named by {proxies} in {access.trusted_proxy_header}")
    own = settings.storage.directory / FILE_NAME
    file = own if makes_own_token(settings) else access.admin_token_file
    if file == own and not os.path.lexists(own):
        return passed(_TOKEN, f"the first start makes a token: {own}")
    return passed(_TOKEN, f"with the token in {file}")


def check_certificate(settings: ReceiverSettings, now: datetime) -> Check:
    """Judge the days until the certificate that head office presents expires."""
    server = settings.server
    if server.tls_cert_file is None:
        where = "a proxy in front has it" if server.behind_proxy else "none: only on this machine"
        return passed(_CERTIFICATE, where)
    end = read_end(server.tls_cert_file)
    if end is None:
        return warning(_CERTIFICATE, "it cannot be read", "see the check of the configuration")
    described, is_soon, has_ended = describe_end(end, now)
    found = f"{server.tls_cert_file}: {described}"
    if has_ended:
        return fault(
            _CERTIFICATE,
            found,
            "renew it: agents refuse to connect. It is then used without a restart",
        )
    if is_soon:
        return warning(
            _CERTIFICATE,
            found,
            "renew it: then agents would not connect. It is used without a restart",
        )
    return passed(_CERTIFICATE, found)


def check_port(settings: ReceiverSettings) -> Check:
    """Check that head office listens on its port, or could."""
    server = settings.server
    problem = find_listening_problem(server.host, server.port, "server", SERVICE.is_started_by)
    if problem is not None:
        return fault(_PORT, problem, "agents do not reach head office there")
    return passed(_PORT, f"{server.host} port {server.port} is free, or head office's")


def _open_to_others(directory: Path) -> Iterator[str]:
    for place in (directory, directory / DATABASE_FILE, directory / FILE_NAME):
        if place.exists() and place.stat().st_mode & _OTHERS:
            yield str(place)
