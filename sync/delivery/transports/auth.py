"""Credentials for central: none, a bearer token or a fixed header."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from sync.delivery.outcomes import Blocked, BlockedReason, RetryLater
from sync.runtime.settings.files_in_use import LoadedFiles
from sync.runtime.settings.secret_files import read_secret
from sync.runtime.settings.setting_errors import ConfigurationError

Headers = Mapping[str, str]


class Credentials(Protocol):
    """Source of authentication headers."""

    async def headers(self, *, refused: Headers | None = None) -> Headers | Blocked | RetryLater:
        """Return the headers; `refused` were rejected, so newer ones if there are any."""


class NoCredentials:
    """For a central without authentication."""

    async def headers(self, *, refused: Headers | None = None) -> Headers | Blocked | RetryLater:  # noqa: ARG002 - there is no other header
        """Return no header."""
        return {}


@dataclass(frozen=True, slots=True)
class FixedHeader:
    """A header of `prefix` and the secret in `file`, read again when it changes.

    A bearer token (RFC 6750) is the header `Authorization` with the prefix `Bearer `.
    """

    name: str
    file: Path
    prefix: str = ""

    async def headers(self, *, refused: Headers | None = None) -> Headers | Blocked | RetryLater:
        """Return the header, or a `Blocked` that names the unusable file."""
        secret = secret_of(self.file, is_refused=refused is not None)
        return secret if isinstance(secret, Blocked) else {self.name: self.prefix + secret}


def bearer(file: Path) -> FixedHeader:
    """Return credentials that send the token in `file` (RFC 6750, 2.1)."""
    return FixedHeader("Authorization", file, "Bearer ")


# The secrets of this process: every user of a file goes on with what it last held.
_in_use: dict[Path, LoadedFiles[str]] = {}


def secret_of(file: Path, *, is_refused: bool = False) -> str | Blocked:
    """Return the secret in `file`, or a `Blocked` that names the unusable file.

    While a changed file is unusable the secret before stays in use, until it `is_refused`.
    """
    try:
        loaded = _in_use.get(file) or LoadedFiles((file,), partial(read_secret, file))
    except ConfigurationError as error:
        return Blocked(BlockedReason.CREDENTIALS, str(error.errors[0]))
    secret = _in_use.setdefault(file, loaded).value()
    if loaded.fault and is_refused:
        return Blocked(BlockedReason.CREDENTIALS, loaded.fault)
    return secret
