"""Settings of the agent: names, defaults, ranges and units."""

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from agent.config.central import CentralSettings, SyncSettings
from agent.facts import UNNAMED_STORE, UNNAMED_TILL
from sync.runtime.cli.discovery import ServiceProcess
from sync.runtime.settings.fallback import AccessPaths
from sync.runtime.settings.load import load
from sync.runtime.settings.program import ProgramSettings
from sync.runtime.settings.schema import LogSettings, Section, SettingsTree, contradiction
from sync.runtime.settings.types import (
    Directory,
    Flag,
    HostNames,
    ListeningHost,
    Name,
    OptionalFile,
    Origins,
    WholeNumber,
    is_loopback,
)

# Access that a rejected configuration closes must not be opened by the earlier one in use.
ACCESS = AccessPaths(
    host=("api", "host"),
    lists=(("api", "allowed_hosts"), ("api", "cors_origins")),
    guards=(
        (("api", "token_file"),),
        (("api", "admin_token_file"),),
        (("api", "tls_cert_file"), ("api", "tls_key_file")),
    ),
)
SERVICE = ServiceProcess("loyalty-agent", "agent", "run")
_MIB = 1024 * 1024
_EXABYTE = 1024**6
_CENTURY_DAYS = 36_500


class StoreSettings(Section):
    """Names of this store and till at head office."""

    store_id: Name = Field(UNNAMED_STORE, description="the store's name at head office")
    till_id: Name = Field(UNNAMED_TILL, description="this POS machine's name in the store")


class ApiSettings(Section):
    """Listening address of the API and access to it."""

    host: ListeningHost = Field("127.0.0.1", description="address to listen on")
    port: WholeNumber = Field(8480, ge=0, le=65_535, description="TCP port; 0: a free one")
    allowed_hosts: HostNames = Field((), description="allowed host names, in addition to loopback")
    cors_origins: Origins = Field((), description="web origins whose pages may call the agent")
    token_file: OptionalFile = Field(None, description="file with the token that clients must send")
    admin_token_file: OptionalFile = Field(
        None, description="file with the token for retrying and discarding dead letters"
    )
    tls_cert_file: OptionalFile = Field(None, description="certificate, with its chain, in PEM")
    tls_key_file: OptionalFile = Field(None, description="its private key, in PEM")

    @model_validator(mode="after")
    def _open_only_when_guarded(self) -> Self:
        wrong = self._unpaired_tls()
        guards = ("token_file", "tls_cert_file", "tls_key_file")
        missing = [f"api.{name}" for name in guards if getattr(self, name) is None]
        if missing and not is_loopback(self.host):
            wrong["host"] = (
                f"listening on {self.host} requires both a token and TLS: any host on"
                f" the network could send captures. Set {', '.join(missing)}, or listen on"
                " 127.0.0.1"
            )
        if self.admin_token_file is not None and self.admin_token_file == self.token_file:
            wrong["admin_token_file"] = "is api.token_file too: set another file"  # noqa: S105 - a message
        if wrong:
            raise contradiction(wrong)
        return self

    def _unpaired_tls(self) -> dict[str, str]:
        if self.tls_cert_file and not self.tls_key_file:
            return {"tls_cert_file": "also needs api.tls_key_file"}
        if self.tls_key_file and not self.tls_cert_file:
            return {"tls_key_file": "also needs api.tls_cert_file"}
        return {}


class StorageSettings(Section):
    """Location of the database and limits on its disk use."""

    directory: Directory = Field(description="directory of the database; created if missing")
    max_bytes: WholeNumber = Field(
        4096 * _MIB, ge=16 * _MIB, le=_EXABYTE, description="maximum size of the database, in bytes"
    )
    min_free_bytes: WholeNumber = Field(
        64 * _MIB, ge=0, le=_EXABYTE, description="free disk space to keep, in bytes"
    )
    ballast_bytes: WholeNumber = Field(
        16 * _MIB, ge=0, le=_EXABYTE, description="reserve for a full disk, in bytes; 0: none"
    )
    encryption_key_file: OptionalFile = Field(
        None, description="key for e-mail addresses; created if missing"
    )

    @property
    def encryption_key_path(self) -> Path:
        """Path of the key file: the configured one, else `encryption.key` in the directory."""
        return self.encryption_key_file or self.directory / "encryption.key"


class EmailSettings(Section):
    """Validation of e-mail addresses."""

    check_syntax: Flag = Field(default=True, description="reject invalid addresses")


class RetentionSettings(Section):
    """Retention of delivered captures; undelivered ones are kept without limit."""

    delivered_days: WholeNumber = Field(
        30, ge=0, le=_CENTURY_DAYS, description="days a delivered capture is kept"
    )
    email_days_after_delivery: WholeNumber = Field(
        0, ge=0, le=_CENTURY_DAYS, description="days its address is kept; 0: erased immediately"
    )


class Settings(SettingsTree):
    """All settings of the agent, validated; created by `load_settings`."""

    program_name = "loyalty-agent"

    store: StoreSettings = StoreSettings()
    api: ApiSettings = ApiSettings()
    storage: StorageSettings
    program: ProgramSettings = ProgramSettings()
    email: EmailSettings = EmailSettings()
    central: CentralSettings = CentralSettings()
    sync: SyncSettings = SyncSettings()
    retention: RetentionSettings = RetentionSettings()
    log: LogSettings = LogSettings()

    @property
    def own_certificates(self) -> tuple[Path, ...]:
        """The files of the certificates that the agent presents, to tills and to head office."""
        files = self.api.tls_cert_file, self.central.client_cert_file
        return tuple(file for file in files if file is not None)


def load_settings(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Return the settings from the file at `path` and the environment; raises as `load` does."""
    return load(Settings, path, environ)
