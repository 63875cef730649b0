"""Reads secret and certificate files named in the settings, and checks them."""

import os
import ssl
from collections.abc import Iterator
from pathlib import Path

from sync.runtime.settings.names import dotted, known_settings, value_of
from sync.runtime.settings.schema import SettingsTree
from sync.runtime.settings.setting_errors import ConfigurationError, Mistake
from sync.runtime.settings.toml_lines import SettingPath
from sync.runtime.settings.types import is_path

_MAX_SECRET_BYTES = 65_536
_ONE_LINE_SECRETS = frozenset(
    {"token_file", "header_value_file", "client_secret_file", "admin_token_file", "password_file"}
)
_MADE_IF_ABSENT = ("storage", "encryption_key_file")
_CERTIFICATE, _KEY = "_cert_file", "_key_file"


def read_secret(path: Path, setting: str = "") -> str:
    """Return the secret in the file at `path`, without its trailing newline.

    A secret is one line of printable ASCII, as HTTP headers (RFC 9110) and OAuth 2.0 (RFC
    6749) require. Raises `ConfigurationError` with the file and the `setting`, if given, but
    never the content.
    """
    content = _content(path, setting)
    if len(content) > _MAX_SECRET_BYTES:
        raise _wrong(path, setting, f"the file has more than {_MAX_SECRET_BYTES} bytes")
    secret = content.removesuffix(b"\n").removesuffix(b"\r").decode("latin-1")
    if not secret.strip():
        raise _wrong(path, setting, "the file is empty; put the secret in it")
    if not secret.isascii() or not secret.isprintable():
        wrong = "the file holds more than one line, or more than printable ASCII"
        raise _wrong(path, setting, wrong)
    return secret


def serving_tls(certificate: Path, key: Path, setting: str) -> ssl.SSLContext:
    """Return a server-side TLS context with `certificate` and its `key`, both PEM.

    `setting` is the certificate's setting. Raises `ConfigurationError`.
    """
    _content(certificate, setting)
    _content(key, setting.removesuffix(_CERTIFICATE) + _KEY)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        # With an empty password a protected key fails here instead of prompting on the terminal.
        context.load_cert_chain(certificate, key, password="")
    except OSError:
        wrong = f"this certificate cannot be used with the key {key}: not PEM, or not a pair"
        raise _wrong(certificate, setting, wrong) from None
    return context


def check_files(settings: SettingsTree) -> None:
    """Check that all files named in `settings` exist, are readable and are not empty.

    The encryption key file may be absent: the program creates it. Changes nothing. Raises
    `ConfigurationError` with all mistakes found.
    """
    found = list(_checked_one_by_one(settings))
    found += [*_unpaired(settings, found), *_unusable_directory(settings)]
    if found:
        raise ConfigurationError(found)


def _checked_one_by_one(settings: SettingsTree) -> Iterator[Mistake]:
    for path, field in known_settings(type(settings)).items():
        file = value_of(settings, path)
        if not is_path(field) or not path[-1].endswith("_file") or not isinstance(file, Path):
            continue
        if path == _MADE_IF_ABSENT and not file.exists():
            continue
        try:
            _check(file, path)
        except ConfigurationError as error:
            yield from error.mistakes


def _check(file: Path, path: SettingPath) -> None:
    if path[-1] in _ONE_LINE_SECRETS:
        read_secret(file, dotted(path))
    elif not _content(file, dotted(path)):
        raise _wrong(file, dotted(path), "the file is empty")


def _unpaired(settings: SettingsTree, found: list[Mistake]) -> Iterator[Mistake]:
    """Check that each certificate matches its key, unless one of them is unreadable."""
    troubled = {mistake.setting for mistake in found}
    for pair in _pairs(settings):
        certificate, key = (value_of(settings, path) for path in pair)
        if not isinstance(certificate, Path) or not isinstance(key, Path):
            continue
        if troubled.isdisjoint(dotted(path) for path in pair):
            yield from _checked_pair(certificate, key, dotted(pair[0]))


def _pairs(settings: SettingsTree) -> Iterator[tuple[SettingPath, SettingPath]]:
    """Return the settings of each certificate and its key, paired by name."""
    for path in known_settings(type(settings)):
        if path[-1].endswith(_CERTIFICATE):
            yield path, (*path[:-1], path[-1].removesuffix(_CERTIFICATE) + _KEY)


def _checked_pair(certificate: Path, key: Path, setting: str) -> Iterator[Mistake]:
    try:
        serving_tls(certificate, key, setting)
    except ConfigurationError as error:
        yield from error.mistakes


def _unusable_directory(settings: SettingsTree) -> Iterator[Mistake]:
    directory = value_of(settings, ("storage", "directory"))
    if not isinstance(directory, Path) or not directory.exists():
        return
    if not directory.is_dir() or not os.access(directory, os.W_OK | os.X_OK):
        wrong = "this is not a directory that this user may write to"
        yield Mistake(str(directory), "storage.directory", wrong)


def _content(path: Path, setting: str) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_SECRET_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a usable path"
        raise _wrong(path, setting, f"the file cannot be read ({reason})") from None


def _wrong(path: Path, setting: str, message: str) -> ConfigurationError:
    return ConfigurationError([Mistake(str(path), setting, message)])
