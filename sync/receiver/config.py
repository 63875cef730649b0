"""The receiver's settings, with defaults, ranges and units."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from sync.protocol.terms_check import find_fault
from sync.receiver.database_url import POSTGRESQL, find_url_fault
from sync.runtime.cli.discovery import ServiceProcess
from sync.runtime.settings.fallback import AccessPaths
from sync.runtime.settings.load import load
from sync.runtime.settings.program import ProgramSettings
from sync.runtime.settings.schema import LogSettings, Section, SettingsTree, contradiction
from sync.runtime.settings.types import (
    Directory,
    Flag,
    HeaderName,
    ListeningHost,
    Networks,
    OptionalFile,
    Stores,
    Text,
    WholeNumber,
    is_loopback,
)

SERVICE = ServiceProcess("loyalty-hq", "sync.receiver", "serve")
# Access that a rejected configuration may close: the fall-back one must not open it again.
ACCESS = AccessPaths(
    host=("server", "host"),
    lists=(("access", "trusted_proxies"),),
    flags=(("server", "behind_proxy"), ("access", "open_on_loopback")),
    equal=(("access", "trusted_proxy_header"),),
    guards=(
        (("access", "admin_token_file"),),
        (("server", "tls_cert_file"), ("server", "tls_key_file")),
    ),
)
DATABASE_FILE = "hq.db"
SQLITE = "sqlite+aiosqlite:///"
_MAX_PORT = 65_535
# Of a name in camel case; those of a locale follow a hyphen.
_CAPITAL = re.compile(r"(?<=[a-z])[A-Z]")
# Agents resend events after up to a month offline; deduplication must still recognise them.
_MIN_DAYS = 35
_BEHIND_PROXY = (
    "not possible behind a proxy: one on this machine would make all its clients local readers"
)


class ServerSettings(Section):
    """Listening address and TLS."""

    host: ListeningHost = Field("127.0.0.1", description="address to listen on")
    port: WholeNumber = Field(8580, ge=0, le=_MAX_PORT, description="TCP port; 0: any free one")
    tls_cert_file: OptionalFile = Field(None, description="certificate, with its chain, in PEM")
    tls_key_file: OptionalFile = Field(None, description="its private key, in PEM")
    behind_proxy: Flag = Field(
        False, description="a proxy in front terminates TLS, for agents and readers"
    )

    @model_validator(mode="after")
    def _traffic_is_encrypted(self) -> Self:
        wrong = self._unpaired_tls()
        if not wrong and not (self.tls_cert_file or self.behind_proxy or is_loopback(self.host)):
            wrong["host"] = (
                f"listening on {self.host} without TLS sends tokens and addresses in the clear."
                " Set server.tls_cert_file and server.tls_key_file, or server.behind_proxy = true"
                " if a proxy in front terminates TLS, or listen on 127.0.0.1"
            )
        if wrong:
            raise contradiction(wrong)
        return self

    def _unpaired_tls(self) -> dict[str, str]:
        if self.tls_cert_file and not self.tls_key_file:
            return {"tls_cert_file": "also needs server.tls_key_file"}
        if self.tls_key_file and not self.tls_cert_file:
            return {"tls_key_file": "also needs server.tls_cert_file"}
        return {}


class DatabaseSettings(Section):
    """Database of the ledger."""

    url: Text = Field("", description="empty: SQLite in the storage directory")
    password_file: OptionalFile = Field(
        None, description="file with the password of the URL's user, if the server requires one"
    )

    @model_validator(mode="after")
    def _url_is_valid(self) -> Self:
        if self.url.startswith(POSTGRESQL):
            if fault := find_url_fault(self.url):
                raise contradiction({"url": fault})
        elif self.url and not self.url.startswith(f"{SQLITE}/"):
            file = f"with an absolute path, such as {SQLITE}/srv/hq.db"
            server = f"of a server, such as {POSTGRESQL}user@host/database"
            raise contradiction({"url": f'expected a URL {file}, or {server}, or ""'})
        elif self.password_file:
            raise contradiction({"password_file": "also needs database.url of a server"})
        return self


class LedgerStorageSettings(Section):
    """Local storage of the receiver."""

    directory: Directory = Field(description="directory of the database; created if absent")
    private_key_file: OptionalFile = Field(
        None,
        description="file with head office's private key, for bundles carried by hand; not set:"
        " made in the storage directory by `loyalty-hq keys`",
    )


class AccessSettings(Section):
    """Read access."""

    admin_token_file: OptionalFile = Field(
        None,
        description="file with the admin token, for readers; not set: made in the storage directory"
        " at the first start",
    )
    open_on_loopback: Flag = Field(
        False, description="clients on this machine read without a token; not behind a proxy"
    )
    trusted_proxies: Networks = Field(
        (), description="addresses or networks of the proxies whose headers are believed"
    )
    trusted_proxy_header: HeaderName = Field(
        "",
        description="header with which a trusted proxy names an authenticated reader; the proxy"
        " must remove it from incoming requests; empty: none",
    )

    @model_validator(mode="after")
    def _only_known_proxies_are_trusted(self) -> Self:
        wrong = {}
        if self.trusted_proxy_header and not self.trusted_proxies:
            wrong["trusted_proxy_header"] = (
                "also needs access.trusted_proxies, the addresses of the proxy: else any client"
                " could send the header"
            )
        if self.open_on_loopback and (self.trusted_proxy_header or self.trusted_proxies):
            wrong["open_on_loopback"] = _BEHIND_PROXY
        if wrong:
            raise contradiction(wrong)
        return self


class IntakeSettings(Section):
    """Admission limits; beyond them agents get 429 with Retry-After."""

    max_in_flight: WholeNumber = Field(
        16, ge=1, le=10_000, description="batches processed at the same time"
    )
    events_per_second: WholeNumber = Field(
        0, ge=0, le=10_000_000, description="events accepted per second; 0: no limit"
    )
    shared_session_stores: Stores = Field(
        (), description='stores whose tills answer for each other\'s sessions; "*": all stores'
    )


class LedgerRetentionSettings(Section):
    """Retention period at head office."""

    days: WholeNumber = Field(
        0, ge=0, le=36_500, description="days to keep an event after it was received; 0: forever"
    )

    @model_validator(mode="after")
    def _outlasts_an_offline_agent(self) -> Self:
        if 0 < self.days < _MIN_DAYS:
            expected = f"expected 0, or at least {_MIN_DAYS}: an agent may be offline for a month"
            raise contradiction({"days": expected})
        return self


class ReceiverSettings(SettingsTree):
    """All settings of the receiver, validated. Created by `load_settings`."""

    program_name = "loyalty-hq"

    server: ServerSettings = ServerSettings()
    database: DatabaseSettings = DatabaseSettings()
    storage: LedgerStorageSettings
    access: AccessSettings = AccessSettings()
    intake: IntakeSettings = IntakeSettings()
    program: ProgramSettings = ProgramSettings()
    retention: LedgerRetentionSettings = LedgerRetentionSettings()
    log: LogSettings = LogSettings()

    @model_validator(mode="after")
    def _behind_a_proxy_no_reader_is_local(self) -> Self:
        if self.access.open_on_loopback and self.server.behind_proxy:
            raise contradiction({"access.open_on_loopback": _BEHIND_PROXY})
        return self

    @model_validator(mode="after")
    def _agents_accept_the_terms(self) -> Self:
        if fault := find_fault(self.program.terms()):
            name = _in_snake_case(fault.field).replace("-", "_").lower()
            reason = f"{_in_snake_case(fault.reason)}: agents would refuse these terms"
            raise contradiction({f"program.{name}": reason})
        return self

    @property
    def is_on_postgresql(self) -> bool:
        """Whether the ledger is on a PostgreSQL server."""
        return self.database.url.startswith(POSTGRESQL)

    @property
    def database_name(self) -> str:
        """The database for messages: its file, or its URL without credentials."""
        if not self.is_on_postgresql:
            return str(self.database_path)
        # The user and the options are dropped too: this goes into the log.
        where = self.database.url.removeprefix(POSTGRESQL).partition("?")[0]
        return POSTGRESQL + where.rpartition("@")[2]

    @property
    def database_path(self) -> Path:
        """Path of the SQLite file."""
        if self.database.url:
            return Path(self.database.url.removeprefix(SQLITE))
        return self.storage.directory / DATABASE_FILE


def _in_snake_case(text: str) -> str:
    return _CAPITAL.sub(lambda found: f"_{found[0].lower()}", text)


def load_settings(path: Path | None, environ: Mapping[str, str]) -> ReceiverSettings:
    """Load the receiver's settings from the file at `path` and the environment (`load`)."""
    return load(ReceiverSettings, path, environ)
