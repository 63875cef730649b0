"""Errors that keep `loyalty-hq serve` from starting, beyond those of its settings."""

from collections.abc import Iterator

import uvloop

from sync.receiver.auth.readers_token import check_own_token
from sync.receiver.config import SERVICE, ReceiverSettings
from sync.receiver.doctor.postgresql import find_encoding_errors
from sync.runtime.checks.certificate import expiry_warning
from sync.runtime.checks.directories import find_directory_errors, find_shared_directory_errors
from sync.runtime.checks.listening import find_listening_problem
from sync.runtime.settings.setting_errors import ConfigurationError, SettingError


def makes_own_token(settings: ReceiverSettings) -> bool:
    """Return whether the readers' token is head office's own, in the storage directory."""
    access = settings.access
    is_open = access.open_on_loopback or access.trusted_proxy_header
    return access.admin_token_file is None and not is_open


def uses_directory(settings: ReceiverSettings) -> bool:
    """Return whether head office keeps anything in the storage directory."""
    return not settings.database.url or makes_own_token(settings)


def find_start_errors(settings: ReceiverSettings, uid: int) -> Iterator[SettingError]:
    """Yield the errors that would stop a receiver of the user `uid` at its start."""
    server, directory = settings.server, settings.storage.directory
    if uses_directory(settings):
        yield from find_directory_errors(directory, "storage.directory", uid)
    if settings.database.url and not settings.is_on_postgresql:
        yield from find_shared_directory_errors(settings.database_path, "database.url")
    if settings.is_on_postgresql:
        yield from uvloop.run(find_encoding_errors(settings))
    if makes_own_token(settings):
        try:
            check_own_token(directory)
        except ConfigurationError as error:
            yield from error.errors
    problem = find_listening_problem(server.host, server.port, "server", SERVICE.is_started_by)
    if problem is not None:
        yield SettingError("", "server.port", problem)


def find_start_warnings(settings: ReceiverSettings) -> Iterator[str]:
    """Yield warnings about settings that are valid and probably not intended."""
    yield from expiry_warning(settings.server.tls_cert_file, "server.tls_cert_file")
