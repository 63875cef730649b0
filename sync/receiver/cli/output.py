"""Where the result of a command goes: standard output, or a file that is there as a whole."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from io import FileIO
from pathlib import Path
from typing import BinaryIO

import typer

from sync.receiver.cli.arguments import NAME, ExitCode


class OutputError(Exception):
    """The result cannot be written; the text says why."""


class Output:
    """Takes bytes; its trouble is told apart from the database's."""

    def __init__(self, file: BinaryIO | FileIO) -> None:
        self._file = file

    def write(self, data: bytes, /) -> int:
        """Write all of `data`. Raises `OutputError`."""
        rest = memoryview(data)
        try:
            # Standard output may take less than it is given.
            while rest:
                rest = rest[self._file.write(rest) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(error.strerror) from None
        return len(data)


@contextmanager
def output_to(path: Path | None, hint: str) -> Iterator[Output]:
    """Yield what takes the result; a file appears when the block ends well.

    Where it cannot be written that is said, with the hint, and the command ends with exit code 1.
    """
    from sync.receiver.atomic_file import whole_file  # noqa: PLC0415 - keeps --help quick

    try:
        with _standard_output() if path is None else whole_file(path) as file:
            yield Output(file)
    except BrokenPipeError:
        raise
    except (OSError, OutputError) as error:
        reason = getattr(error, "strerror", None) or error
        where = "standard output" if path is None else path
        typer.echo(f"{NAME}: {where}: {reason}: {hint}", err=True)
        raise typer.Exit(ExitCode.TROUBLE) from None


def _standard_output() -> AbstractContextManager[BinaryIO | FileIO]:
    # Without a buffer: what the interpreter cannot get rid of at its end changes the exit code.
    return open(sys.stdout.fileno(), "wb", buffering=0, closefd=False)
