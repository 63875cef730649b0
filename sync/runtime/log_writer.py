"""Writes the log from a thread of its own: a reader that stops reading stops no request.

A write to a full pipe, or to a stalled journal, blocks until it is read. So the thread that
logs only adds the line to a buffer; beyond its bound lines are dropped and counted.
"""

import logging
import os
import select
import threading
from collections import deque
from contextlib import suppress

_MOST_BYTES = 1024 * 1024
# Several lines in one write: after each the thread has to get the interpreter's lock back.
_WRITE_BYTES = 64 * 1024
# At the end, for lines that are not read yet. The whole stop must take less than 5 s.
_FLUSH_SECONDS = 1.0
_DROPPED = "log.lines_dropped"


class LogWriter(logging.Handler):
    """Writes lines to a descriptor, from a thread that starts with the first one.

    `emit` never blocks. Where lines are missing, a line says how many (`log.lines_dropped`);
    `dropped_total` counts all of them.
    """

    def __init__(self, descriptor: int, most_bytes: int = _MOST_BYTES) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._most_bytes = most_bytes
        # The handler's own lock, and reentrant: a finalizer may log at any point of this class.
        assert self.lock is not None, "made above"  # noqa: S101 - for the types
        self._changed = threading.Condition(self.lock)
        # Each line with the number of dropped lines that it reports, 0 for an ordinary one.
        self._lines: deque[tuple[bytes, int]] = deque()
        self._bytes = 0
        self._dropped = 0
        self.dropped_total = 0
        self._is_failing = False
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def emit(self, record: logging.LogRecord) -> None:
        """Add the line to the buffer; count it as dropped if there is no room."""
        try:
            line = self._line(record)
        except Exception:  # noqa: BLE001 - as in every handler: logging reports it
            self.handleError(record)
            return
        if self._bytes + len(line) > self._most_bytes:
            self._dropped += 1
            self.dropped_total += 1
            return
        self._add_gap()
        self._add(line)
        if self._is_closed:
            self._write_at_once()
        elif self._thread is None:
            self._start()

    def flush(self) -> None:
        """Wait until all is written, or for a moment if it cannot be."""
        with self._changed:
            self._changed.wait_for(self._is_idle, _FLUSH_SECONDS)

    def close(self) -> None:
        """End the thread. Later lines are written at once, if that does not block."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        super().close()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="log", daemon=True)
        # If this user may have no more threads, the next line tries again.
        with suppress(RuntimeError):
            thread.start()
            self._thread = thread

    def _line(self, record: logging.LogRecord) -> bytes:
        return (self.format(record) + "\n").encode(errors="backslashreplace")

    def _add(self, line: bytes, reports: int = 0) -> None:
        self._lines.append((line, reports))
        self._bytes += len(line)
        self._changed.notify_all()

    def _add_gap(self) -> None:
        """Add a line on the dropped ones at the place where they are missing."""
        dropped, self._dropped = self._dropped, 0
        if dropped:
            record = logging.makeLogRecord(
                {"name": __name__, "levelno": logging.WARNING, "levelname": "WARNING"}
                | {"msg": _DROPPED, "fields": {"dropped": dropped}}
            )
            self._add(self._line(record), dropped)

    def _is_idle(self) -> bool:
        return not self._bytes and not (self._dropped and not self._is_failing)

    def _run(self) -> None:
        while lines := self._next():
            written = self._write(b"".join(line for line, _ in lines))
            with self._changed:
                self._bytes -= sum(len(line) for line, _ in lines)
                self._count_unwritten(lines, written)
                self._changed.notify_all()

    def _next(self) -> list[tuple[bytes, int]]:
        """Wait for lines and return those of the next write; none once the handler is closed."""
        with self._changed:
            while not self._lines:
                if not self._is_idle():
                    self._add_gap()
                elif self._is_closed:
                    break
                else:
                    self._changed.wait()
            return self._taken()

    def _taken(self) -> list[tuple[bytes, int]]:
        taken, size = [], 0
        while self._lines and size < _WRITE_BYTES:
            taken.append(self._lines.popleft())
            size += len(taken[-1][0])
        return taken

    def _count_unwritten(self, lines: list[tuple[bytes, int]], written: int) -> None:
        """Count the lines of a write that are not in the first `written` bytes as dropped."""
        end = 0
        for line, reports in lines:
            end += len(line)
            if end > written:
                self._dropped += reports or 1
                self.dropped_total += 0 if reports else 1
        self._is_failing = end > written

    def _write(self, content: bytes) -> int:
        """Write; return the number of bytes before the first error."""
        written = 0
        while written < len(content):
            try:
                written += os.write(self._descriptor, content[written:])
            except BlockingIOError:
                # Another program that shares the stream has made it nonblocking.
                _wait_for_room(self._descriptor, None)
            except OSError:
                break
        return written

    def _write_at_once(self) -> None:
        lines = self._taken()
        self._bytes = 0
        if _wait_for_room(self._descriptor, 0):
            self._write(b"".join(line for line, _ in lines))


def _wait_for_room(descriptor: int, milliseconds: int | None) -> bool:
    """Return whether the descriptor takes a write within this time; None: wait for ever."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(milliseconds))
