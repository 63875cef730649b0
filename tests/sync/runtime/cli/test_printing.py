"""Printing of named values."""

import pytest

from sync.runtime.cli.printing import flatten, print_values


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


def test_nested_values_get_dotted_names() -> None:
    values = {"a": {"b": {"c": 1}, "d": []}, "e": {}, "f": None}

    assert flatten(values) == {"a.b.c": 1, "a.d": [], "f": None}
