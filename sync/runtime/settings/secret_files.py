"""Reads secret and certificate files named in the settings, and checks them."""

import os
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path

from sync.runtime.files.regular_file import read_regular
from sync.runtime.settings.names import dotted, known_settings, value_of
from sync.runtime.settings.schema import SettingsTree
from sync.runtime.settings.setting_errors import ConfigurationError, SettingError
from sync.runtime.settings.toml_lines import SettingPath
from sync.runtime.settings.types import is_path

_MAX_SECRET_BYTES = 65_536
_ONE_LINE_SECRETS = frozenset(
    {
        "token_file",
        "header_value_file",
        "client_secret_file",
        "admin_token_file",
        "password_file",
        "proxy_password_file",
    }
)
# A token that people type may be guessed, and the form to guess it in is open to everybody.
ADMIN_TOKEN_CHARACTERS = 20
_LEAST_CHARACTERS = {"admin_token_file": ADMIN_TOKEN_CHARACTERS}
_CREATED_IF_ABSENT = ("storage", "encryption_key_file")
# Commands alone read or create it, as root: the service need not be able to.
_OF_COMMANDS = ("storage", "private_key_file")
_CERTIFICATE, _KEY = "_cert_file", "_key_file"


def read_secret(path: Path, setting: str = "") -> str:
    """Return the secret in the file at `path`, without its trailing newline.

    A secret is one line of printable ASCII, as HTTP headers (RFC 9110) and OAuth 2.0 (RFC
    6749) require; some settings also require a least length. Raises `ConfigurationError` with the
    file and the `setting`, if given, but never the content.
    """
    content = _content(path, setting)
    if len(content) > _MAX_SECRET_BYTES:
        raise _error(path, setting, f"the file has more than {_MAX_SECRET_BYTES} bytes")
    secret = content.removesuffix(b"\n").removesuffix(b"\r").decode("latin-1")
    if not secret.strip():
        raise _error(path, setting, "the file is empty; put the secret in it")
    if not secret.isascii() or not secret.isprintable():
        message = "the file contains more than one line, or more than printable ASCII"
        raise _error(path, setting, message)
    least = _LEAST_CHARACTERS.get(setting.rpartition(".")[2], 0)
    if len(secret) < least:
        message = f"the token is shorter than {least} characters and could be guessed; make a new"
        raise _error(path, setting, f"{message} one, such as by: openssl rand -hex 32")
    return secret


def serving_tls(certificate: Path, key: Path, setting: str) -> ssl.SSLContext:
    """Return a server-side TLS context with `certificate` and its `key`, both PEM.

    `setting` is the certificate's. Raises `ConfigurationError`.
    """
    _content(certificate, setting)
    _content(key, setting.removesuffix(_CERTIFICATE) + _KEY)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        # With an empty password a protected key fails here instead of prompting on the terminal.
        context.load_cert_chain(certificate, key, password="")
    except OSError:
        message = f"this certificate cannot be used with the key {key}: not PEM, or not a pair"
        raise _error(certificate, setting, message) from None
    return context


def check_files(settings: SettingsTree) -> None:
    """Raise `ConfigurationError` with all errors of the files named in `settings`."""
    if errors := [*find_file_errors(settings), *_unusable_directory(settings)]:
        raise ConfigurationError(errors)


def check_named_files(settings: SettingsTree) -> None:
    """Raise `ConfigurationError` with all errors of the files, but not of the directory."""
    if errors := find_file_errors(settings):
        raise ConfigurationError(errors)


def find_file_errors(settings: SettingsTree) -> list[SettingError]:
    """Return the files named in `settings` that do not exist, are unreadable, empty or no pair.

    The encryption key file may be absent: the program creates it. Changes nothing.
    """
    errors: list[SettingError] = []
    readable: dict[SettingPath, Path] = {}
    for path, file in _files(settings):
        try:
            _check_content(file, path)
        except ConfigurationError as error:
            errors += error.errors
        else:
            readable[path] = file
    return [*errors, *_mismatched_certificates(readable)]


def _files(settings: SettingsTree) -> Iterator[tuple[SettingPath, Path]]:
    """Return the files named in `settings` that have to exist."""
    for path, field in known_settings(type(settings)).items():
        file = value_of(settings, path)
        if not is_path(field) or not path[-1].endswith("_file") or not isinstance(file, Path):
            continue
        if path == _OF_COMMANDS:
            continue
        # A user who may not enter its directory sees no file: Path.exists would raise.
        if path != _CREATED_IF_ABSENT or os.path.exists(file):  # noqa: PTH110 - see above
            yield path, file


def _check_content(file: Path, path: SettingPath) -> None:
    if path[-1] in _ONE_LINE_SECRETS:
        read_secret(file, dotted(path))
    elif not _content(file, dotted(path)):
        raise _error(file, dotted(path), "the file is empty")


def _mismatched_certificates(readable: Mapping[SettingPath, Path]) -> Iterator[SettingError]:
    """Return the errors of certificates and keys, paired by name, that do not match."""
    for path, certificate in readable.items():
        key = readable.get((*path[:-1], path[-1].removesuffix(_CERTIFICATE) + _KEY))
        if path[-1].endswith(_CERTIFICATE) and key is not None:
            try:
                serving_tls(certificate, key, dotted(path))
            except ConfigurationError as error:
                yield from error.errors


def _unusable_directory(settings: SettingsTree) -> Iterator[SettingError]:
    directory = value_of(settings, ("storage", "directory"))
    if not isinstance(directory, Path) or not directory.exists():
        return
    if not directory.is_dir() or not os.access(directory, os.W_OK | os.X_OK):
        message = "this is not a directory that this user may write to"
        yield SettingError(str(directory), "storage.directory", message)


def _content(path: Path, setting: str) -> bytes:
    try:
        return read_regular(path, _MAX_SECRET_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a usable path"
        raise _error(path, setting, f"the file cannot be read ({reason})") from None


def _error(path: Path, setting: str, message: str) -> ConfigurationError:
    return ConfigurationError([SettingError(str(path), setting, message)])
