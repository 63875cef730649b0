"""Plan of a join: the settings to write and the files they name. Reads; changes nothing."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from agent.config import Settings
from agent.config.central import AuthKind, Protocol
from agent.config.settings import StoreSettings
from sync.protocol.join_code import JoinCode, authority_mark
from sync.runtime.settings.paths import CREDENTIAL
from sync.runtime.settings.toml_lines import SettingPath

AUTHORITY_FILE = "head-office-ca.pem"
_CREDENTIALS, _TOKEN = "credentials", "central-token"
_STORE, _TILL = ("store", "store_id"), ("store", "till_id")
_URL, _PROTOCOL, _CA = ("central", "url"), ("central", "protocol"), ("central", "ca_file")
_KIND, _TOKEN_FILE = ("central", "auth", "kind"), ("central", "auth", "token_file")


@dataclass(frozen=True, slots=True)
class Place:
    """A configuration file, its settings, and its text of `central.auth.token_file`.

    `is_service`: the file is that of the installed service, which gets credentials from systemd.
    """

    config: Path
    settings: Settings
    token_setting: str
    is_service: bool

    @property
    def directory(self) -> Path:
        """The directory of the configuration file, links resolved."""
        return self.config.resolve().parent


@dataclass(frozen=True, slots=True)
class Plan:
    """Settings to write, by path, and the files for token and authority.

    `authority_file` is None if the code names no authority, or `central.ca_file` has it already.
    `is_credential`: systemd reads the token, as root.
    """

    values: dict[SettingPath, str]
    token_file: Path
    is_credential: bool
    authority_file: Path | None


def plan_join(code: JoinCode, place: Place) -> Plan:
    """Return the plan for a machine that joins with `code`."""
    setting = place.token_setting
    if not setting:
        setting = f"{CREDENTIAL}{_TOKEN}" if place.is_service else str(place.directory / _TOKEN)
    is_credential = setting.startswith(CREDENTIAL)
    name = setting.removeprefix(CREDENTIAL)
    token_file = place.directory / _CREDENTIALS / name if is_credential else place.directory / name
    central = place.settings.central
    values = {
        _STORE: code.store_id,
        _TILL: code.till_id,
        _URL: code.url,
        _KIND: AuthKind.BEARER.value,
        _TOKEN_FILE: setting,
    }
    if central.protocol is not Protocol.BATCH:
        values[_PROTOCOL] = Protocol.BATCH.value
    authority_file = None
    if code.authority and not _names_authority(central.ca_file, code.authority):
        authority_file = place.directory / AUTHORITY_FILE
        values[_CA] = str(authority_file)
    return Plan(values, token_file, is_credential, authority_file)


def joined_elsewhere(code: JoinCode, settings: Settings) -> Iterator[str]:
    """Yield the settings that name another store, till or head office than the code."""
    unnamed, store, central = StoreSettings(), settings.store, settings.central
    names = (
        ("store_id", store.store_id, unnamed.store_id, code.store_id),
        ("till_id", store.till_id, unnamed.till_id, code.till_id),
    )
    for name, now, default, new in names:
        if now not in {default, new}:
            yield f'{name} is "{now}", and the code is for "{new}"'
    if central.url and central.url.rstrip("/") != code.url:
        yield f"central.url is {central.url}, and the code is for {code.url}"
    elif central.url and central.protocol is not Protocol.BATCH:
        yield f'central.protocol is "{central.protocol.value}", and the code is for "batch"'


def digest_of(code: JoinCode) -> str:
    """Return the digest of a code, by which an interrupted join recognises it."""
    return hashlib.sha256(code.secret.encode()).hexdigest()


def _names_authority(file: Path | None, mark: str) -> bool:
    try:
        certificates = x509.load_pem_x509_certificates(file.read_bytes()) if file else []
    except (OSError, ValueError):
        return False
    return any(authority_mark(one.public_bytes(Encoding.DER)) == mark for one in certificates)
