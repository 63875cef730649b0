"""Settings are written in place: nothing else in the file changes, or nothing at all."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.runtime.settings.toml_edit import TomlEditError, set_texts
from tests.support.processes import ROOT

EXAMPLE = (ROOT / "config.example.toml").read_text()
JOINED = {
    ("store", "store_id"): "0042",
    ("store", "till_id"): "till-1",
    ("central", "url"): "https://hq.example.com",
    ("central", "ca_file"): "/etc/loyalty-agent/head-office-ca.pem",
    ("central", "auth", "kind"): "bearer",
    ("central", "auth", "token_file"): "credential:central-token",
}


def lines_changed(before: str, after: str) -> list[str]:
    return [line for line in after.splitlines() if line not in before.splitlines()]


def test_example_keeps_every_comment_and_setting() -> None:
    after = set_texts(EXAMPLE, JOINED)

    assert lines_changed(EXAMPLE, after) == [
        'store_id = "0042"',
        'till_id = "till-1"',
        'url = "https://hq.example.com"',
        'ca_file = "/etc/loyalty-agent/head-office-ca.pem"',
        'kind = "bearer"',
        'token_file = "credential:central-token"',
    ]
    replaced = {
        'store_id = "unnamed-store"',
        'till_id = "unnamed-till"',
        'url = ""',
        'kind = "none"',
    }
    assert {*lines_changed(after, EXAMPLE)} == replaced


def test_unset_setting_is_written_below_its_example() -> None:
    lines = set_texts(EXAMPLE, JOINED).splitlines()

    at = lines.index('token_file = "credential:central-token"')
    assert lines[at - 1] == '# token_file = "credential:central-token"'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", '[store]\nstore_id = "7"\n'),
        ("# only a comment", '# only a comment\n\n[store]\nstore_id = "7"\n'),
        ("[store]\n", '[store]\nstore_id = "7"\n'),
        ("[store]", '[store]\nstore_id = "7"\n'),
        ("[store] # here\n\n[log]\n", '[store] # here\nstore_id = "7"\n\n[log]\n'),
        ('[store]\nstore_id="1"# mine\n', '[store]\nstore_id="7"# mine\n'),
        ("[store]\n  store_id  =  'a # b'   # c\n", '[store]\n  store_id  =  "7"   # c\n'),
        ('[store]\nstore_id = """1\n2""" # c\n', '[store]\nstore_id = "7" # c\n'),
        ('[store]\n"store_id" = "1"\n', '[store]\n"store_id" = "7"\n'),
        ('[ store ]\nstore_id = "1"', '[ store ]\nstore_id = "7"'),
        ('store.store_id = "1"\n', 'store.store_id = "7"\n'),
        ('store.till_id = "1"\n[log]\n', 'store.till_id = "1"\nstore.store_id = "7"\n[log]\n'),
        ('[store]\ntill_id = "1" # c', '[store]\ntill_id = "1" # c\nstore_id = "7"\n'),
        ('[store]\r\nstore_id = "1"\r\n', '[store]\r\nstore_id = "7"\r\n'),
        ('\ufeff[store]\nstore_id = "1"\n', '\ufeff[store]\nstore_id = "7"\n'),
        ('[[x]]\nstore_id = "2"\n', '[[x]]\nstore_id = "2"\n\n[store]\nstore_id = "7"\n'),
        (
            '[log]\nlevel = "info"\n# [store]\n',
            '[log]\nlevel = "info"\n# [store]\n\n[store]\nstore_id = "7"\n',
        ),
        (
            'x = [ # a\n 1, # [store]\n]\n[store]\nstore_id = "1"',
            'x = [ # a\n 1, # [store]\n]\n[store]\nstore_id = "7"',
        ),
    ],
)
def test_kinds_of_files(before: str, after: str) -> None:
    assert set_texts(before, {("store", "store_id"): "7"}) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('[central]\nurl = "u"\n', '[central]\nurl = "u"\n\n[central.auth]\nkind = "bearer"\n'),
        ('[central]\nauth.scope = ""\n', '[central]\nauth.scope = ""\nauth.kind = "bearer"\n'),
        (
            '[central.auth]\nkind = "none"\n[central]\n',
            '[central.auth]\nkind = "bearer"\n[central]\n',
        ),
    ],
)
def test_kinds_of_nested_tables(before: str, after: str) -> None:
    assert set_texts(before, {("central", "auth", "kind"): "bearer"}) == after


@pytest.mark.parametrize(
    "before",
    ["store = { till_id = '1' }\n", "store.store_id.x = 1\n", "[[store]]\nx = 1\n", "store = 1\n"],
)
def test_file_that_cannot_be_edited_safely_is_refused(before: str) -> None:
    with pytest.raises(TomlEditError, match=r"store\.store_id"):
        set_texts(before, {("store", "store_id"): "7"})


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])))
def test_any_text_is_read_back(text: str) -> None:
    after = set_texts(EXAMPLE, {("central", "url"): text})

    assert tomllib.loads(after)["central"]["url"] == text


def test_repeat_changes_nothing() -> None:
    once = set_texts(EXAMPLE, JOINED)

    assert set_texts(once, JOINED) == once
