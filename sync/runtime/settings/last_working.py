"""The configuration with which a service last started, kept in its state directory.

A service that is restarted with a wrong setting goes on with this copy, so that its callers are
answered, and says so. The copy holds the text of the file and the program's variables; secrets are
in neither.
"""

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from sync.protocol.rfc3339 import to_rfc3339
from sync.runtime.files.atomic_file import atomic_file
from sync.runtime.logging import log_event
from sync.runtime.settings.fallback import AccessPaths, Fallback, narrow
from sync.runtime.settings.load import examine, load, read_text
from sync.runtime.settings.readable import read_as_far_as_possible
from sync.runtime.settings.schema import SettingsTree
from sync.runtime.settings.secret_files import find_file_errors
from sync.runtime.settings.setting_errors import ConfigurationError, SettingError

_log = logging.getLogger(__name__)
FILE = "last-working-configuration.json"
Tree = TypeVar("Tree", bound=SettingsTree)


class _Source(msgspec.Struct, frozen=True):
    """A configuration as it was read: the file's path and text, the program's variables."""

    file: str | None
    text: str | None
    variables: dict[str, str]


class _Copy(msgspec.Struct, frozen=True):
    """A stored configuration, and since when it is the one that works."""

    source: _Source
    since: str


class LastWorking(Generic[Tree]):
    """The present configuration of a service, and the copy of the one that worked.

    `state_directories` is systemd's `$STATE_DIRECTORY`. Without it nothing is stored: a person who
    starts the program reads its message.
    """

    def __init__(
        self,
        model: type[Tree],
        file: Path | None,
        environ: Mapping[str, str],
        state_directories: str | None,
    ) -> None:
        self._model = model
        self._environ = environ
        self._file = file
        self._text: str | None = None
        directory = (state_directories or "").split(":")[0]
        self._copy = Path(directory, FILE) if directory else None

    def settings(self) -> Tree:
        """Load the present configuration. Raises `ConfigurationError`."""
        if self._file is not None:
            self._text = read_text(self._file)
        return load(self._model, self._file, self._environ, self._text)

    def valid_part(self) -> Tree | None:
        """Return the present configuration with defaults for wrong settings; None if it is no TOML.

        For comparison only.
        """
        try:
            settings, _ = examine(self._model, self._file, self._environ, self._text)
        except ConfigurationError:
            return None
        return settings

    def is_wrong(self, find_errors: Callable[[Tree, int], Iterable[SettingError]]) -> bool:
        """Return whether the configuration has errors now; `find_errors` finds those of a start."""
        try:
            text = None if self._file is None else read_text(self._file)
            settings, errors = examine(self._model, self._file, self._environ, text)
        except ConfigurationError:
            return True
        if errors or settings is None or find_file_errors(settings):
            return True
        return any(True for _ in find_errors(settings, os.geteuid()))

    def save(self) -> None:
        """Store the present configuration as the one that works; a failure is logged only."""
        if self._copy is None:
            return
        present, stored = self._source(), self._stored()
        if stored is not None and stored.source == present:
            return
        copy = _Copy(present, to_rfc3339(datetime.now(UTC)))
        try:
            with atomic_file(self._copy) as file:
                file.write(msgspec.json.encode(copy))
        except OSError as error:
            reason = error.strerror
            log_event(_log, logging.WARNING, "configuration.not_copied", reason=reason)

    def recall(self, access: AccessPaths) -> Fallback[Tree] | None:
        """Load the stored configuration, without the access that the present one denies (`narrow`).

        None if there is none, if it is wrong or the present one, or if nothing valid is left of it.
        """
        stored = self._stored()
        if stored is None or stored.source == self._source():
            return None
        source = stored.source
        environ = self._model.other_variables(self._environ) | source.variables
        file = None if source.file is None else Path(source.file)
        try:
            last = load(self._model, file, environ, source.text)
        except ConfigurationError:
            return None
        text = self._readable_text()
        present = read_as_far_as_possible(self._model, self._file, self._environ, text)
        found = narrow(last, present, access) if present else Fallback(last)
        return found and replace(found, since=stored.since)

    def _readable_text(self) -> str | None:
        """Return the present file's text, other than UTF-8 replaced; None if it cannot be read."""
        if self._file is None:
            return ""
        with suppress(OSError):
            return self._text or self._file.read_bytes().decode("utf-8-sig", "replace")
        return None

    def _source(self) -> _Source:
        variables = self._model.own_variables(self._environ)
        return _Source(str(self._file) if self._file else None, self._text, variables)

    def _stored(self) -> _Copy | None:
        if self._copy is None:
            return None
        try:
            return msgspec.json.decode(self._copy.read_bytes(), type=_Copy)
        except (OSError, msgspec.MsgspecError):
            return None
