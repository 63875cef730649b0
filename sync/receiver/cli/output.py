"""Output of a command: standard output, or a file written atomically."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from sync.receiver.cli.hq import HEAD_OFFICE
from sync.runtime.atomic_file import atomic_file


class OutputError(Exception):
    """The result cannot be written; the message says why."""


class Output:
    """Writes bytes; raises errors that differ from database errors."""

    def __init__(self, file: BinaryIO | FileIO) -> None:
        self._file = file

    def write(self, data: bytes, /) -> int:
        """Write all of `data`. Raises `OutputError`."""
        rest = memoryview(data)
        try:
            # A raw write to standard output may be partial.
            while rest:
                rest = rest[self._file.write(rest) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(error.strerror) from None
        return len(data)


@contextmanager
def output_to(path: Path | None, hint: str) -> Iterator[Output]:
    """Yield the output; a file appears only if the block succeeds.

    A write error is printed with `hint`, and the command exits with code 1.
    """
    try:
        # Unbuffered: a flush that fails at interpreter exit would change the exit code.
        with (
            atomic_file(path) if path else open(sys.stdout.fileno(), "wb", 0, closefd=False) as file
        ):
            yield Output(file)
    except BrokenPipeError:
        raise
    except (OSError, OutputError) as error:
        reason = getattr(error, "strerror", None) or error
        target = "standard output" if path is None else path
        HEAD_OFFICE.fail(f"cannot write {target} ({reason}): {hint}")
