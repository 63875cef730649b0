"""Settings for delivery to central: address, credentials, schedule and batch size."""

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from sync.runtime.settings.schema import Section, contradiction
from sync.runtime.settings.types import (
    HeaderName,
    HourRange,
    Number,
    OptionalFile,
    ProxyUrl,
    ProxyUser,
    SecureUrl,
    Text,
    TokenParameters,
    WholeNumber,
)


class Protocol(StrEnum):
    """Delivery protocol: batches to our receiver, or replay of the calls to the loyalty API."""

    BATCH = "batch"
    REPLAY = "replay"


class AuthKind(StrEnum):
    """Kinds of authentication at central."""

    NONE = "none"
    BEARER = "bearer"
    HEADER = "header"
    OAUTH2 = "oauth2"


class ClientAuth(StrEnum):
    """Ways to send client ID and secret to a token endpoint (RFC 6749, 2.3.1)."""

    BASIC = "basic"
    POST = "post"


_NEEDED = {
    AuthKind.NONE: (),
    AuthKind.BEARER: ("token_file",),
    AuthKind.HEADER: ("header_name", "header_value_file"),
    AuthKind.OAUTH2: ("token_url", "client_id", "client_secret_file"),
}


_NEEDED_TOO = (
    ("client_cert_file", "client_key_file"),
    ("client_key_file", "client_cert_file"),
    ("proxy_user", "proxy_password_file"),
    ("proxy_password_file", "proxy_user"),
    ("proxy_user", "proxy"),
)


class AuthSettings(Section):
    """Authentication at central; `kind` selects the settings that apply."""

    kind: AuthKind = Field(AuthKind.NONE, description="none, bearer, header or oauth2")
    token_file: OptionalFile = Field(None, description="bearer: file with the token")
    header_name: HeaderName = Field("", description="header: name of the HTTP header")
    header_value_file: OptionalFile = Field(
        None, description="header: file with the value of the header"
    )
    token_url: SecureUrl = Field("", description="oauth2: URL of the token endpoint")
    client_id: Text = Field("", description="oauth2: client ID")
    client_secret_file: OptionalFile = Field(
        None, description="oauth2: file with the client secret"
    )
    client_auth: ClientAuth = Field(
        ClientAuth.BASIC, description="oauth2: client ID and secret by HTTP basic, or in the post"
    )
    scope: Text = Field("", description="oauth2: requested scope; empty: none")
    parameters: TokenParameters = Field(
        {}, description="oauth2: further parameters of the token request, such as audience"
    )

    @model_validator(mode="after")
    def _kind_has_what_it_needs(self) -> Self:
        missing = [name for name in _NEEDED[self.kind] if not getattr(self, name)]
        if missing:
            needs = f'"{self.kind}" also needs {", ".join(missing)} in the same section'
            raise contradiction({"kind": needs})
        return self


class CentralSettings(Section):
    """Address of central, TLS and authentication."""

    url: SecureUrl = Field("", description="empty: no delivery; http only on this machine")
    protocol: Protocol = Field(Protocol.BATCH, description="batch or replay")
    ca_file: OptionalFile = Field(None, description="CA of head office's certificate")
    client_cert_file: OptionalFile = Field(None, description="client certificate for mutual TLS")
    client_key_file: OptionalFile = Field(None, description="its private key")
    proxy: ProxyUrl = Field("", description="HTTP proxy for requests to head office; empty: none")
    proxy_user: ProxyUser = Field("", description="user at the proxy; empty: none")
    proxy_password_file: OptionalFile = Field(None, description="file with its password")
    public_key_file: OptionalFile = Field(
        None, description="head office's public key, for exports carried by hand"
    )
    auth: AuthSettings = AuthSettings()

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Self:
        for name, needed in _NEEDED_TOO:
            if getattr(self, name) and not getattr(self, needed):
                raise contradiction({name: f"also needs {needed}"})
        return self


class SyncSettings(Section):
    """Schedule, batch limits, backoff and bandwidth of delivery."""

    interval_seconds: Number = Field(30, ge=1, le=86_400, description="seconds between passes")
    batch_events: WholeNumber = Field(100, ge=1, le=5_000, description="events in one batch")
    max_batch_bytes: WholeNumber = Field(
        1_048_576, ge=1_024, le=67_108_864, description="bytes in one batch"
    )
    timeout_seconds: Number = Field(
        30, ge=1, le=600, description="timeout of one request, in seconds"
    )
    max_in_flight: WholeNumber = Field(8, ge=1, le=100, description="concurrent requests")
    backoff_base_seconds: Number = Field(
        1, ge=0.1, le=3_600, description="first backoff after a failure, in seconds"
    )
    backoff_cap_seconds: Number = Field(
        60, ge=0.1, le=3_600, description="longest backoff, in seconds"
    )
    bandwidth_bytes_per_second: WholeNumber = Field(
        0, ge=0, le=1_000_000_000, description="bandwidth limit in bytes per second; 0: none"
    )
    quiet_hours: HourRange = Field("", description="local time without delivery; empty: none")
    stuck_after_days: WholeNumber = Field(
        7, ge=0, le=3_650, description="days until a stuck capture is set aside; 0: never"
    )

    @model_validator(mode="after")
    def _backoff_grows(self) -> Self:
        base, cap = self.backoff_base_seconds, self.backoff_cap_seconds
        if base > cap:
            name = next(n for n in _BACKOFF if n in self.model_fields_set)
            wrong = f"backoff_base_seconds ({base}) is more than backoff_cap_seconds ({cap})"
            raise contradiction({name: wrong})
        return self


_BACKOFF = ("backoff_base_seconds", "backoff_cap_seconds")
