"""Printing of named values."""

import pytest

from sync.runtime.cli.printing import flatten, print_entries, print_values


def test_table_on_a_terminal_escapes_markup_and_control_characters(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)

    print_values("Status", {"store": "[bold]x", "odd": "\x1b[2J", "ready": True})

    shown = capsys.readouterr().out
    assert "Status" in shown
    assert "[bold]x" in shown
    assert "\\x1b[2J" in shown
    assert "yes" in shown


def test_title_above_a_narrow_table_is_not_wrapped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    title = "Settings that differ from the default"

    print_values(title, {"api.port": 8481})

    assert title in capsys.readouterr().out


def test_entry_on_a_terminal_breaks_between_values_and_leaves_out_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    epoch, at = "5b0c0bba-6f29-4a39-9d53-6f53e4d1f2aa", "2026-03-04T05:06:07.000Z"
    entry = {"state": "here", "type": "email.answered", "epoch": epoch, "sequence": 2}
    entry |= {"correlationId": epoch, "lastHeardAt": None, "capturedAt": at}
    entry |= {"storeId": "", "detail": {"codes": 1, "by": "address"}}

    print_entries("", [entry])

    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        "here  email.answered",
        f"    epoch: {epoch}, sequence: 2",
        f"    correlation id: {epoch}",
        f"    captured at: {at}, codes: 1, by: address",
    ]


def test_nested_values_get_dotted_names() -> None:
    values = {"a": {"b": {"c": 1}, "d": []}, "e": {}, "f": None}

    assert flatten(values) == {"a.b.c": 1, "a.d": [], "f": None}
