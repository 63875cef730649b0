"""Checks beyond the settings that the start of `loyalty-agent run` depends on."""

from collections.abc import Iterator
from pathlib import Path

from agent.config import SERVICE, SettingError, Settings
from agent.config.export_key import find_export_key_errors
from agent.doctor.disk_space import find_space_errors
from agent.facts import HOW_TO_JOIN, unset_for_delivery
from agent.store.crypto.vault import UnusableKey, check_key, is_own_key
from sync.runtime.checks.certificate import expiry_warning
from sync.runtime.checks.directories import find_directory_errors, find_shared_directory_errors
from sync.runtime.checks.listening import find_listening_problem

_KEY = "storage.encryption_key_file"
_OWN_KEY = "The agent sets the file aside at its start, and makes a new key"


def find_start_errors(settings: Settings, uid: int) -> Iterator[SettingError]:
    """Yield the errors that keep an agent of the user `uid` from starting, or without its key."""
    api, storage = settings.api, settings.storage
    yield from find_directory_errors(storage.directory, "storage.directory", uid)
    key = storage.encryption_key_path
    if not is_own_key(key, storage.directory):
        yield from find_key_errors(key)
    if storage.encryption_key_file is not None and not key.exists():
        yield from find_shared_directory_errors(key, _KEY)
    problem = find_listening_problem(api.host, api.port, "api", SERVICE.is_started_by)
    if problem is not None:
        yield SettingError("", "api.port", problem)


def find_errors(settings: Settings, uid: int) -> Iterator[SettingError]:
    """Yield the errors of a start, and those with which captures or exports would fail."""
    yield from find_start_errors(settings, uid)
    yield from find_space_errors(settings.storage)
    yield from find_export_key_errors(settings.central.public_key_file)


def find_key_errors(key: Path) -> Iterator[SettingError]:
    """Yield an error if the encryption key is unusable; a missing key is created at the start."""
    try:
        check_key(key)
    except UnusableKey as error:
        yield SettingError(str(key), _KEY, str(error).removeprefix(f"{key} "))
    except OSError as error:
        yield SettingError(str(key), _KEY, f"the file cannot be read ({error.strerror})")


def find_start_warnings(settings: Settings) -> Iterator[str]:
    """Yield warnings: the agent starts, but something is probably a mistake."""
    key = settings.storage.encryption_key_path
    if is_own_key(key, settings.storage.directory):
        yield from (f"{error} {_OWN_KEY}" for error in find_key_errors(key))
    yield from expiry_warning(settings.api.tls_cert_file, "api.tls_cert_file")
    store, url = settings.store, settings.central.url
    if unset := unset_for_delivery(store.store_id, store.till_id, url):
        deed = "delivers under no name" if url else "captures only"
        yield f"the agent {deed}: {unset}. {HOW_TO_JOIN}"
