"""Output of a command: standard output, or a file written atomically.

A file or a pipe gets the bytes as they are; a terminal gets them escaped, because they come from
tills.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from sync.receiver.cli.hq import HEAD_OFFICE
from sync.runtime.files.atomic_file import atomic_file
from sync.runtime.files.scratch_file import remove_abandoned
from sync.runtime.printable import printable


class OutputError(Exception):
    """The result cannot be written; the message says why."""


class Output:
    """Writes bytes; raises errors that differ from database errors.

    `is_terminal`: each write is of whole lines of text in UTF-8.
    """

    def __init__(self, file: BinaryIO | FileIO, *, is_terminal: bool = False) -> None:
        self._file = file
        self._is_terminal = is_terminal

    def write(self, data: bytes, /) -> int:
        """Write all of `data`. Raises `OutputError`."""
        rest = memoryview(_printable_lines(data) if self._is_terminal else data)
        try:
            # A raw write to standard output may be partial.
            while rest:
                rest = rest[self._file.write(rest) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(error.strerror) from None
        return len(data)


def _printable_lines(data: bytes) -> bytes:
    lines = data.decode("utf-8", "replace").replace("\r\n", "\n").split("\n")
    return "\n".join(map(printable, lines)).encode()


@contextmanager
def output_to(path: Path | None, hint: str) -> Iterator[Output]:
    """Yield the output; a file appears only if the block succeeds.

    Removes the unfinished file of a killed export beside it. A write error is printed with `hint`,
    and the command exits with code 1.
    """
    try:
        if path:
            remove_abandoned(path.parent)
        # Unbuffered: a flush that fails at interpreter exit would change the exit code.
        with (
            atomic_file(path) if path else open(sys.stdout.fileno(), "wb", 0, closefd=False) as file
        ):
            yield Output(file, is_terminal=path is None and sys.stdout.isatty())
    except BrokenPipeError:
        raise
    except (OSError, OutputError) as error:
        reason = getattr(error, "strerror", None) or error
        target = "standard output" if path is None else path
        HEAD_OFFICE.fail(f"cannot write {target} ({reason}): {hint}")
