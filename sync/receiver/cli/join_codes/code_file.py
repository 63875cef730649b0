"""Output of a list of join codes: standard output, or a file that an interrupted run continues.

Codes are written after they are stored, slice by slice, to `FILE.part`, which becomes FILE when all
tills have one. A crash between the two leaves codes that were never shown: the next run issues
others for these tills, which voids them.
"""

import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Protocol

from sync.protocol.join_code import JoinCode, JoinCodeError, parse_join_code
from sync.protocol.rfc3339 import to_rfc3339
from sync.receiver.auth.tokens import AgentName
from sync.receiver.cli.join_codes.till_list import NameSet
from sync.receiver.cli.output import Output, OutputError
from sync.runtime.files.atomic_file import sync_directory
from sync.runtime.files.private_files import open_private

HEADER = "store_id,till_id,code,expires_at\n"


class CodeFileError(Exception):
    """An earlier run's file cannot be continued; the message says why and what to do."""


class CodeOutput(Protocol):
    """Takes the codes of one slice after the other."""

    def has(self, name: AgentName) -> bool:
        """Return whether an earlier run has written a code for the till."""

    def write(self, codes: Iterable[JoinCode], expires_at: datetime) -> None:
        """Write codes that are stored. Raises `OutputError`."""


class StandardOutput:
    """Codes on standard output; nothing to continue."""

    def __init__(self, output: Output) -> None:
        self._output = output
        output.write(HEADER.encode())

    def has(self, name: AgentName) -> bool:  # noqa: ARG002 - the signature is the protocol's
        """Return False."""
        return False

    def write(self, codes: Iterable[JoinCode], expires_at: datetime) -> None:
        """Write codes."""
        self._output.write(_lines(codes, expires_at))


class CodeFile:
    """Codes in `FILE.part`, mode 0600; synced after each slice."""

    def __init__(self, path: Path, template: JoinCode, now: datetime) -> None:
        """Begin the file, or continue one. `template` has the URL and authority of all codes.

        Raises `CodeFileError` and `OSError`.
        """
        self.path = path
        self.part = path.with_name(f"{path.name}.part")
        self._names = NameSet()
        self.continued = 0
        self._file = os.fdopen(open_private(self.part, os.O_RDWR | os.O_CREAT), "r+b")
        try:
            self._continue(template, now)
        except BaseException:
            self.close()
            raise

    def has(self, name: AgentName) -> bool:
        """Return whether an earlier run has written a code for the till."""
        return self._names.line_of(name) is not None

    def write(self, codes: Iterable[JoinCode], expires_at: datetime) -> None:
        """Append codes and sync. Raises `OutputError`, which differs from database errors."""
        try:
            self._file.write(_lines(codes, expires_at))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OutputError(error.strerror) from None

    def finish(self) -> None:
        """Give the file its name."""
        self.part.replace(self.path)
        sync_directory(self.path.parent)

    def close(self) -> None:
        """Close the file, finished or not."""
        self._file.close()
        self._names.close()

    def _continue(self, template: JoinCode, now: datetime) -> None:
        """Read the codes of an earlier run; cut off a line that a crash has torn."""
        header = self._file.readline()
        if header not in {b"", HEADER.encode()} and header.endswith(b"\n"):
            raise self._unusable("was not written by this command")
        end = len(HEADER) if header == HEADER.encode() else 0
        while end and (line := self._file.readline()).endswith(b"\n"):
            self._note(line.decode("utf-8", "replace"), template, now)
            end += len(line)
        self._file.truncate(end)
        self._file.seek(end)
        if not end:
            self._file.write(HEADER.encode())

    def _note(self, line: str, template: JoinCode, now: datetime) -> None:
        try:
            _, _, text, expires_at = line.rstrip("\n").split(",")
            code = parse_join_code(text)
            is_expired = datetime.fromisoformat(expires_at) <= now
        except (JoinCodeError, ValueError):
            raise self._unusable("has a damaged line") from None
        if (code.url, code.authority) != (template.url, template.authority):
            raise self._unusable("holds codes for another URL or authority")
        if is_expired:
            raise self._unusable("holds expired codes")
        self._names.add(AgentName(code.store_id, code.till_id))
        self.continued += 1

    def _unusable(self, reason: str) -> CodeFileError:
        return CodeFileError(f"{self.part} {reason}: delete it to issue all codes again")


def _lines(codes: Iterable[JoinCode], expires_at: datetime) -> bytes:
    end = to_rfc3339(expires_at, "milliseconds")
    return "".join(f"{one.store_id},{one.till_id},{one},{end}\n" for one in codes).encode()
