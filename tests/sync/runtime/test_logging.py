"""The log: one line per event for any content, and never an address."""

import io
import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.runtime.logging import (
    MAX_LINE_BYTES,
    JsonFormatter,
    LineFormatter,
    TextFormatter,
    configure_logging,
    is_journal,
    log_event,
)
from tests.support.processes import ROOT

OURS = logging.getLogger("agent.test")
THEIRS = logging.getLogger("somebody.else")
FORMATTERS = pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    before = (root.level, list(root.handlers), OURS.parent, warnings.showwarning)
    yield
    logging.captureWarnings(capture=False)
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    for name in ("agent", "sync"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def record_of(message: str, /, **fields: object) -> logging.LogRecord:
    extra = {"fields": fields} if fields else None
    record = OURS.makeRecord("agent.test", logging.INFO, "x.py", 1, message, (), None, extra=extra)
    record.created = datetime(2026, 11, 22, 14, 0, 0, 123_000, UTC).timestamp()
    return record


def written(level: str, format_name: str) -> io.StringIO:
    stream = io.StringIO()
    configure_logging(level, format_name, stream)
    return stream


def test_text_line_has_time_level_event_and_fields() -> None:
    line = TextFormatter().format(record_of("store.opened", epoch="a-b", sequence=41))

    assert line == "2026-11-22T14:00:00.123Z INFO store.opened epoch=a-b sequence=41"


def test_json_line_has_time_level_event_and_fields() -> None:
    line = JsonFormatter().format(record_of("store.opened", epoch="a-b", sequence=41, late=None))

    assert json.loads(line) == {
        "time": "2026-11-22T14:00:00.123Z",
        "level": "INFO",
        "event": "store.opened",
        "epoch": "a-b",
        "sequence": 41,
        "late": None,
    }


@pytest.mark.parametrize(
    ("value", "quoted"),
    [
        ("two words", '"two words"'),
        ("", '""'),
        ("a=b", '"a=b"'),
        ('say "x"', '"say \\"x\\""'),
        ("a\nb", '"a\\nb"'),
        ("a\u2028b", '"a\\u2028b"'),
        ("\x1b[2J", '"\\u001b[2J"'),
        ("\udce9", '"\\udce9"'),
        (True, "true"),
        (None, "null"),
        (1.5, "1.5"),
        (float("nan"), "nan"),
        (datetime(2026, 11, 22, tzinfo=UTC), "2026-11-22T00:00:00+00:00"),
        (ValueError("no room"), '"no room"'),
    ],
)
def test_value_is_quoted_where_necessary(value: object, quoted: str) -> None:
    line = TextFormatter().format(record_of("x.y", value=value))

    assert line.endswith(f" x.y value={quoted}")


def test_field_cannot_overwrite_time_level_or_event() -> None:
    line = JsonFormatter().format(record_of("store.opened", event="forged", level="DEBUG"))

    assert json.loads(line)["event"] == "store.opened"
    assert json.loads(line)["event_"] == "forged"


@FORMATTERS
@given(message=st.text(), name=st.text(), value=st.text())
def test_any_event_is_one_printable_line(
    formatter: LineFormatter, message: str, name: str, value: str
) -> None:
    line = formatter.format(record_of(message, **{name: value}))

    assert line.isascii()
    assert line.isprintable()


@given(value=st.text(st.characters(exclude_characters="@%")))
def test_any_value_survives_a_json_round_trip(value: str) -> None:
    line = JsonFormatter().format(record_of("x.y", value=value))

    assert json.loads(line)["value"] == value


@FORMATTERS
@pytest.mark.parametrize(
    "text",
    [
        "marie@example.ca",
        "no such customer: <marie@example.ca>, sorry",
        "GET /x?address=marie%40example.ca",
        "first\nmarie@example.ca\nlast",
        "mailto:marie.roy+till@sub.example.ca",
        "{'emailAddress': 'marie@example.ca'}",
        "érable.marie@exämple.ca",
        "o'marie@example.ca",
        "Name='marie.o'neil@example.ca'",
        '"marie roy"@example.ca',
        'said "no" to "marie roy"@example.ca',
        '{"address": "\\"marie roy\\"@example.ca"}',
        r'"a\"marie"@example.ca',
        "marie@[192.0.2.1]",
    ],
)
def test_address_is_masked_in_message_field_name_value_and_traceback(
    formatter: LineFormatter, text: str
) -> None:
    error = ValueError(text)
    record = record_of(text, value=text, error=error, **{text: 1})
    record.exc_info = (ValueError, error, None)

    line = formatter.format(record)

    assert "marie" not in line
    assert "o'" not in line
    assert "[address]" in line


@FORMATTERS
@given(
    address=st.from_regex(
        r"[a-zA-Z0-9._+-]{1,20}@([a-z0-9-]{1,10}\.){1,3}[a-z]{2,6}", fullmatch=True
    ),
    before=st.sampled_from(["", " ", "\n", '"', "(", "address=", "é "]),
    after=st.sampled_from(["", " ", "\n", '"', ")", ","]),
)
def test_no_address_of_usual_form_is_logged(
    formatter: LineFormatter, address: str, before: str, after: str
) -> None:
    line = formatter.format(record_of("x.y", value=before + address + after))

    assert address.split("@", maxsplit=1)[0] + "@" not in line
    assert "@" + address.split("@")[1] not in line


def test_address_at_the_truncation_limit_is_masked() -> None:
    line = TextFormatter().format(record_of("x.y", value="x" * 8_185 + " marie@example.ca"))

    assert "marie" not in line


def test_long_value_is_truncated() -> None:
    line = TextFormatter().format(record_of("x.y", value="x" * 1_000_000))

    assert len(line) < 10_000
    assert line.endswith('[cut]"')


def test_traceback_is_logged_on_the_same_line() -> None:
    stream = written("info", "text")

    try:
        int("first\nsecond")
    except ValueError:
        OURS.exception("store.failed")

    lines = stream.getvalue().splitlines()
    assert len(lines) == 1
    assert " ERROR store.failed exception=" in lines[0]
    assert "Traceback (most recent call last):\\n" in lines[0]


def test_message_of_a_library_becomes_a_field() -> None:
    stream = written("info", "json")

    THEIRS.warning("lost %s of %d", "two", 3)

    line = json.loads(stream.getvalue())
    assert (line["event"], line["message"]) == ("somebody.else", "lost two of 3")


def test_message_with_mismatched_arguments_is_still_logged() -> None:
    record = logging.LogRecord("x", logging.ERROR, "x.py", 1, "%d of %d", ("a",), None)

    assert TextFormatter().format(record).endswith('ERROR x message="%d of %d"')


def test_libraries_are_logged_from_warning_up_at_level_debug() -> None:
    stream = written("debug", "text")

    log_event(OURS, logging.DEBUG, "till.asked")
    THEIRS.info("chatter")
    THEIRS.warning("trouble")

    assert [line.split()[2] for line in stream.getvalue().splitlines()] == [
        "till.asked",
        "somebody.else",
    ]


def test_nothing_is_logged_below_the_level() -> None:
    stream = written("error", "text")

    log_event(OURS, logging.WARNING, "line.lost")
    THEIRS.warning("trouble")

    assert stream.getvalue() == ""


def test_second_configuration_replaces_the_first() -> None:
    first = written("info", "text")
    second = written("info", "text")

    log_event(OURS, logging.INFO, "store.opened")

    assert first.getvalue() == ""
    assert second.getvalue().count("store.opened") == 1


def test_python_warning_is_one_log_line() -> None:
    stream = written("info", "text")

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn("old\nways", UserWarning, stacklevel=1)

    assert stream.getvalue().count("\n") == 1
    assert "py.warnings" in stream.getvalue()


@FORMATTERS
@given(
    fields=st.dictionaries(
        st.text(min_size=1), st.sampled_from(["x", "é", "\U0001f600", "\\", '"']), max_size=60
    ),
    repeats=st.integers(1, 20_000),
)
def test_any_line_is_below_the_line_limit_of_journald(
    formatter: LineFormatter, fields: dict[str, str], repeats: int
) -> None:
    long = {name: value * repeats for name, value in fields.items()}

    line = formatter.format(record_of("x.y", **long))

    assert len(line) <= MAX_LINE_BYTES
    assert isinstance(formatter, TextFormatter) or json.loads(line)["event"] == "x.y"


@FORMATTERS
@given(
    token=st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=8, max_size=40),
    before=st.sampled_from(["Bearer ", "bearer  ", "Authorization: Bearer ", "Basic ", "'Bearer "]),
)
def test_token_after_its_auth_scheme_is_masked(
    formatter: LineFormatter, token: str, before: str
) -> None:
    line = formatter.format(record_of("x.y", value=before + token))

    assert token not in line
    assert "[token]" in line


@FORMATTERS
@pytest.mark.parametrize("name", ["token", "Authorization", "secret", "PASSWORD"])
def test_value_of_a_secret_field_is_not_logged(formatter: LineFormatter, name: str) -> None:
    assert "s3cret" not in formatter.format(record_of("x.y", **{name: "s3cret"}))


@pytest.mark.parametrize(
    ("level", "priority"),
    [
        (logging.DEBUG, "<7>"),
        (logging.INFO, "<6>"),
        (logging.WARNING, "<4>"),
        (logging.ERROR, "<3>"),
        (logging.CRITICAL, "<2>"),
    ],
)
def test_line_for_the_journal_starts_with_its_priority(level: int, priority: str) -> None:
    record = record_of("store.opened")
    record.levelno = level

    assert TextFormatter(with_priority=True).format(record).startswith(f"{priority}2026-")


def test_journal_stream_is_detected_by_device_and_inode(tmp_path: Path) -> None:
    with (tmp_path / "journal").open("w") as journal, (tmp_path / "file").open("w") as file:
        status = os.fstat(journal.fileno())
        environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}

        assert is_journal(journal, environ)
        assert not is_journal(file, environ)
        assert not is_journal(journal, {})
        assert not is_journal(io.StringIO(), environ)


def test_priorities_are_logged_only_to_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = []
    with (tmp_path / "journal").open("w") as journal:
        status = os.fstat(journal.fileno())
        for stream in ("", f"{status.st_dev}:{status.st_ino}"):
            monkeypatch.setenv("JOURNAL_STREAM", stream)
            configure_logging("info", "json", journal)
            log_event(OURS, logging.WARNING, "line.lost")
        lines = (tmp_path / "journal").read_text().splitlines()

    assert [line[:3] for line in lines] == ['{"t', "<4>"]


BEFORE = """
import gc, threading
from sync.runtime.logging import configure_logging, log_uncaught_exceptions
configure_logging("info", "json")
log_uncaught_exceptions()
"""
IN_THREAD = """
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
"""
IN_FINALIZER = """
class Broken:
    def __del__(self):
        raise ValueError("first\\nsecond")
Broken()
gc.collect()
"""


@pytest.mark.process
@pytest.mark.parametrize(
    ("program", "event", "code"),
    [
        ("int('first\\nsecond')", "process.failed", 1),
        ("raise KeyboardInterrupt", "process.interrupted", -2),
        (IN_THREAD, "thread.failed", 0),
        (IN_FINALIZER, "exception.ignored", 0),
    ],
)
def test_uncaught_exception_is_one_log_line(program: str, event: str, code: int) -> None:
    result = subprocess.run(
        [sys.executable, "-c", BEFORE + program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    (line,) = result.stderr.splitlines()
    assert json.loads(line)["event"] == event
    assert result.returncode == code
