"""The thread that writes the log: descriptors that fail, block or come back."""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from select import select

import pytest

from sync.runtime.log_writer import LogWriter
from sync.runtime.logging import TextFormatter

LINE_BYTES = 100


@contextmanager
def writer_to(descriptor: int) -> Iterator[LogWriter]:
    writer = LogWriter(descriptor)
    writer.setFormatter(TextFormatter())
    try:
        yield writer
    finally:
        writer.flush()
        writer.close()


def record(event: str) -> logging.LogRecord:
    return logging.LogRecord("agent.test", logging.INFO, "x.py", 1, event, (), None)


def test_lines_that_a_full_disk_refused_are_counted_once_it_has_room(tmp_path: Path) -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    with (tmp_path / "log").open("wb") as file, writer_to(descriptor) as writer:
        for event in ("a.a", "b.b", "c.c"):
            writer.handle(record(event))
        writer.flush()
        os.dup2(file.fileno(), descriptor)
        writer.handle(record("d.d"))
    os.close(descriptor)

    lines = (tmp_path / "log").read_text().splitlines()
    assert [line.split(" ", 2)[1:] for line in lines] == [
        ["WARNING", "log.lines_dropped dropped=3"],
        ["INFO", "d.d"],
    ]


def test_stream_that_another_program_made_nonblocking_loses_no_line() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with writer_to(writing) as writer, os.fdopen(reading) as file:
        lines = 100_000 // LINE_BYTES * 2
        for _ in range(lines):
            writer.handle(record("x." + "y" * LINE_BYTES))
        received = [file.readline() for _ in range(lines)]
        writer.flush()
    os.close(writing)

    assert {line.split()[2] for line in received} == {"x." + "y" * LINE_BYTES}


def test_line_logged_after_the_end_is_written_at_once(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        with writer_to(file.fileno()) as writer:
            pass
        writer.handle(record("late.late"))

        assert (tmp_path / "log").read_text().endswith("late.late\n")


def test_line_logged_after_the_end_into_a_full_pipe_is_no_reason_to_wait() -> None:
    reading, writing = os.pipe()
    while select([], [writing], [], 0)[1]:
        os.write(writing, bytes(4_096))
    with writer_to(writing) as writer:
        pass

    writer.handle(record("late.late"))

    os.close(reading)
    os.close(writing)


def test_lines_are_counted_as_dropped_once() -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    with writer_to(descriptor) as writer:
        for event in ("a.a", "b.b", "c.c"):
            writer.handle(record(event))
            # The next line follows one on those that are missing, which is dropped, too.
            writer.flush()

        assert writer.dropped_total == 3
    os.close(descriptor)


def test_line_is_no_error_where_no_thread_can_be_started_and_is_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with (tmp_path / "log").open("wb") as file, writer_to(file.fileno()) as writer:
        with monkeypatch.context() as exhausted:
            exhausted.setattr(threading.Thread, "start", fail)
            writer.handle(record("early.early"))
        writer.handle(record("late.late"))

    events = [line.split()[2] for line in (tmp_path / "log").read_text().splitlines()]
    assert events == ["early.early", "late.late"]
