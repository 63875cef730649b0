"""File of the join codes of a list. An interrupted run is continued by the next one.

Each slice of codes is stored in the database, then appended to `FILE.part`, which is renamed to
FILE after the last slice. After a crash between the two, the slice is in the database only: the
next run issues new codes for its tills, which voids the unwritten ones.
"""

import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from sync.protocol.join_code import JoinCode, JoinCodeError, parse_join_code
from sync.protocol.rfc3339 import to_rfc3339
from sync.receiver.auth.tokens import AgentName
from sync.receiver.cli.output import OutputError
from sync.runtime.files.atomic_file import sync_directory
from sync.runtime.files.private_files import open_private

HEADER = "store_id,till_id,code,expires_at\n"


class CodeFileError(Exception):
    """The file of an earlier run cannot be continued; the message says why and what to do."""


class CodeFile:
    """Codes in `FILE.part`, mode 0600; synced after each slice.

    `names`: the tills for which an earlier run has written a code.
    """

    def __init__(self, path: Path, template: JoinCode, now: datetime) -> None:
        """Create the file, or continue one. `template` has the URL and authority of all codes.

        Raises `CodeFileError` and `OSError`.
        """
        self.path = path
        self.part = path.with_name(f"{path.name}.part")
        self.names: set[AgentName] = set()
        self._file = os.fdopen(open_private(self.part, os.O_RDWR | os.O_CREAT), "r+b")
        try:
            self._continue(template, now)
        except BaseException:
            self.close()
            raise

    def write(self, codes: Iterable[JoinCode], expires_at: datetime) -> None:
        """Append codes and sync. Raises `OutputError`, which differs from database errors."""
        try:
            self._file.write(lines(codes, expires_at))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OutputError(error.strerror) from None

    def finish(self) -> None:
        """Rename the file to its final name."""
        self.part.replace(self.path)
        sync_directory(self.path.parent)

    def close(self) -> None:
        """Close the file, finished or not."""
        self._file.close()

    def _continue(self, template: JoinCode, now: datetime) -> None:
        """Read the codes of an earlier run; remove an incomplete last line."""
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
        self.names.add(AgentName(code.store_id, code.till_id))

    def _unusable(self, reason: str) -> CodeFileError:
        return CodeFileError(f"{self.part} {reason}: delete it to issue all codes again")


def lines(codes: Iterable[JoinCode], expires_at: datetime) -> bytes:
    """Return the lines of some codes, below `HEADER`."""
    end = to_rfc3339(expires_at, "milliseconds")
    return "".join(f"{one.store_id},{one.till_id},{one},{end}\n" for one in codes).encode()
