"""Secrets and certificates of a running program, read again when their files change.

If a changed file cannot be used, the content before it stays in use and an error is logged: a
renewal in two steps, or one that failed, must not stop a program that works.
"""

import logging
import os
import ssl
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from sync.runtime.logging import log_event
from sync.runtime.settings.secret_files import read_secret, serving_tls
from sync.runtime.settings.setting_errors import ConfigurationError

_log = logging.getLogger(__name__)
T = TypeVar("T")
# More than the resolution of a file system's times: ext3 has seconds.
_TICK_NS = 2 * 10**9
_Identity = tuple[int, int, int, int, int] | None


class LoadedFiles(Generic[T]):
    """The value that `load` returned for `files` when they were last usable.

    `fault`: the reason why they cannot be used now; empty if they can.
    """

    def __init__(self, files: Sequence[Path], load: Callable[[], T]) -> None:
        """Load the files. Raises the errors of `load`."""
        self._files = [str(file) for file in files]
        self._load = load
        self.fault = ""
        # Before reading: the next call then notices a change made meanwhile.
        self._loaded = self._identities()
        self._value = load()
        self._note_age()

    def value(self) -> T:
        """Return the value; load it again first if a file has changed. Costs a stat for each."""
        if not self._is_settled or self._identities() != self._loaded:
            self.reload()
        return self._value

    def reload(self) -> None:
        """Load the files again; keep the value if one of them cannot be used."""
        before, self._loaded = self._loaded, self._identities()
        fault_before, self.fault = self.fault, ""
        try:
            self._value = self._load()
        except ConfigurationError as error:
            self.fault = "; ".join(str(one) for one in error.errors)
            if self.fault != fault_before:
                reason = f"{self.fault}: the one before stays in use"
                log_event(_log, logging.ERROR, "files.rejected", reason=reason)
        else:
            if self._loaded != before or fault_before:
                log_event(_log, logging.INFO, "files.reloaded", files=", ".join(self._files))
        self._note_age()

    def _note_age(self) -> None:
        """Note whether the next change is sure to change an identity: not within a clock tick."""
        newest = max((one[-1] for one in self._loaded if one is not None), default=0)
        self._is_settled = abs(time.time_ns() - newest) > _TICK_NS

    def _identities(self) -> list[_Identity]:
        return [_identity(file) for file in self._files]


class FilesInUse:
    """The files that one program has loaded. Not thread-safe; event loop only."""

    def __init__(self) -> None:
        self._all: list[LoadedFiles[Any]] = []

    def secret(self, path: Path | None, setting: str) -> Callable[[], str] | None:
        """Return a function for the secret in the file at `path`; None if the setting is not set.

        Raises `ConfigurationError` if the file cannot be used now.
        """
        if path is None:
            return None
        return self.load((path,), partial(read_secret, path, setting))

    def serving_tls(
        self, certificate: Path | None, key: Path | None, setting: str
    ) -> Callable[[], ssl.SSLContext] | None:
        """Return a function for the server-side TLS context; None if the files are not set.

        Raises `ConfigurationError` if they cannot be used now.
        """
        if certificate is None or key is None:
            return None
        return self.load((certificate, key), partial(serving_tls, certificate, key, setting))

    def load(self, files: Sequence[Path], load: Callable[[], T]) -> Callable[[], T]:
        """Return a function for the value of `load`, which is called again when `files` change."""
        loaded = LoadedFiles(files, load)
        self._all.append(loaded)
        return loaded.value

    def reload(self) -> None:
        """Load all files again."""
        for one in self._all:
            one.reload()


def _identity(file: str) -> _Identity:
    """Return a value that changes with the file's content; None if there is none."""
    try:
        found = os.stat(file)  # noqa: PTH116 - with a string half the time of Path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
