"""The line scanner on generated TOML documents with known line numbers."""

import tomllib
from collections.abc import Mapping
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.runtime.settings.toml_lines import SettingPath, find_lines

BARE = st.from_regex(r"[A-Za-z0-9_-]{1,6}", fullmatch=True)
ODD = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="'"), max_size=6)
BLANK = st.sampled_from(["", " ", "\t "])
# Text that could be mistaken for a statement, a comment or the end of a string.
TRAPS = st.sampled_from(
    ["x = 1", "[x]", "# x", '"', "''", '""', "\\\\", "\n", "\n[y]\n", "\ny = 2\n", "]", "}", "{"]
)
TEXTS = st.lists(TRAPS, max_size=4).map("".join)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def multi_line(text: str) -> str:
    return '"""' + text.replace('"', '\\"') + '"""'


def multi_line_literal(text: str) -> str:
    return "'''" + text.replace("'", "") + "'''"


ENDS_WITH_QUOTES = st.sampled_from(
    ['"""a"""""', '""""a""""', "'''a'''''", "''''a''''", '""', "''", '""""""', "''''''"]
)
SCALARS = (
    st.integers().map(str)
    | st.sampled_from(["true", "1.5e3", "2026-11-22T14:00:00Z", "2026-11-22 14:00:00"])
    | TEXTS.map(quoted)
    | TEXTS.map(multi_line)
    | TEXTS.map(multi_line_literal)
    | ENDS_WITH_QUOTES
)
VALUES = (
    SCALARS
    | st.lists(SCALARS, max_size=3).map(lambda items: "[ # ]\n" + ",\n".join(items) + "\n]")
    | st.lists(SCALARS, max_size=3).map(
        lambda items: "{" + ", ".join(f"k{n} = {item}" for n, item in enumerate(items)) + "}"
    )
)
ENDS = st.sampled_from(["\n", " # [x]\n", "\t#\n\n", "\n  # y = 1\n"])


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, dict[SettingPath, int]]:
    """Draw a TOML document and the line of each statement in it."""
    text = draw(st.sampled_from(["", "\n", "# first\n"]))
    lines: dict[SettingPath, int] = {}
    table: SettingPath = ()
    for number in range(draw(st.integers(0, 8))):
        # The number makes each name unique, as TOML requires.
        names = [f"{number}-{draw(BARE)}", *draw(st.lists(BARE | ODD, max_size=2))]
        key = f"{draw(BLANK)}.{draw(BLANK)}".join(draw(spellings(name)) for name in names)
        line = text.count("\n") + 1
        if draw(st.booleans()):
            table = tuple(names)
            text += f"{draw(BLANK)}[{draw(BLANK)}{key}{draw(BLANK)}]{draw(ENDS)}"
            lines[table] = line
        else:
            text += f"{draw(BLANK)}{key}{draw(BLANK)}={draw(BLANK)}{draw(VALUES)}{draw(ENDS)}"
            lines[*table, *names] = line
    return text, lines


def spellings(name: str) -> st.SearchStrategy[str]:
    bare = name.isascii() and bool(name) and name.replace("-", "").replace("_", "").isalnum()
    return st.sampled_from([quoted(name), f"'{name}'", *([name] if bare else [])])


@given(document=documents())
def test_each_setting_is_reported_on_its_line(
    document: tuple[str, dict[SettingPath, int]],
) -> None:
    text, lines = document
    tomllib.loads(text)

    found = find_lines(text)

    assert {path: found.get(path) for path in lines} == lines


@pytest.mark.slow
@given(document=documents())
def test_no_setting_is_reported_that_is_not_in_the_document(
    document: tuple[str, dict[SettingPath, int]],
) -> None:
    text, _ = document
    tree = tomllib.loads(text)

    assert all(says(tree, path) for path in find_lines(text))


def says(tree: Mapping[str, object], path: SettingPath) -> bool:
    value: object = tree
    for name in path:
        if not isinstance(value, dict) or name not in value:
            return False
        value = value[name]
    return True


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_lines_are_counted_with_lf_and_with_crlf(newline: str) -> None:
    text = newline.join(["# first", "[api]", "port = 1", "", "[[list]]", 'a."b c".d = 2'])

    found = find_lines(text)

    assert found == {
        ("api",): 2,
        ("api", "port"): 3,
        ("list",): 5,
        ("list", "a"): 6,
        ("list", "a", "b c"): 6,
        ("list", "a", "b c", "d"): 6,
    }


@given(text=st.text(st.sampled_from("a=.[]{}\"'#\n\r\\ "), max_size=30))
def test_scanner_terminates_on_any_text(text: str) -> None:
    with suppress(tomllib.TOMLDecodeError):
        find_lines(text)


def test_last_line_needs_no_newline() -> None:
    assert find_lines("a = 1\nb = 2") == {("a",): 1, ("b",): 2}
