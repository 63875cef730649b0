"""Localization: messages, numbers, times, language negotiation."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from string import Formatter

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sync.receiver.pages
from sync.receiver.pages.views import LANGUAGES
from sync.runtime import i18n

PAGES = Path(sync.receiver.pages.__path__[0])
ENGLISH, FRENCH = LANGUAGES.values()
# Message groups whose keys are composed at runtime from a prefix and a value.
COMPOSED = (
    "history",
    "condition",
    "condition_help",
    "sign_in_refused",
    "sort",
    "column",
    "duration",
    "stores",
    "tills",
)


def places(words: str) -> set[str]:
    """Return the placeholders of a message."""
    return {name for _, name, _, _ in Formatter().parse(words) if name}


def test_all_languages_have_the_same_messages_and_placeholders() -> None:
    english, french = (
        {name: places(words) for name, words in one.messages.items()} for one in (ENGLISH, FRENCH)
    )

    assert english == french


def test_no_message_is_unused() -> None:
    sources = [*PAGES.glob("templates/*.html"), *PAGES.glob("*.py"), Path(i18n.__file__)]
    texts = "".join(source.read_text("utf-8") for source in sources)
    asked = set(re.findall(r"""["']([a-z_]+(?:\.[a-z_-]+)*)["']""", texts))
    known = set(ENGLISH.messages)
    # The two of a number.
    asked |= {f"{name}.{number}" for name in asked for number in ("one", "many")}
    by_part = {name for name in known if any(name.startswith(f"{part}.") for part in COMPOSED)}

    assert known - by_part - asked == set()


@pytest.mark.parametrize(
    ("asked", "accepted", "expected"),
    [
        ("", "", "en"),
        ("", "fr", "fr"),
        ("", "fr-CA,fr;q=0.9,en;q=0.8", "fr"),
        ("", "en;q=0.5, FR-ca;q=0.7", "fr"),
        ("", "de, fr;q=0.2, en;q=0.1", "fr"),
        ("", "de", "en"),
        ("", "fr;q=0, en;q=0.1", "en"),
        ("", "fr;q=much, en", "en"),
        ("fr", "en", "fr"),
        ("de", "fr", "fr"),
        ("../en", "fr", "fr"),
    ],
)
def test_language_is_the_requested_one_else_the_most_preferred_one(
    asked: str, accepted: str, expected: str
) -> None:
    assert i18n.negotiate(LANGUAGES, asked, accepted).code == expected


@given(asked=st.text(), accepted=st.text())
def test_any_request_yields_a_language(asked: str, accepted: str) -> None:
    assert i18n.negotiate(LANGUAGES, asked, accepted).code in LANGUAGES


def test_thousands_are_grouped_by_the_rules_of_the_language() -> None:
    assert (ENGLISH.number(1_234_567), FRENCH.number(1_234_567)) == (
        "1,234,567",
        "1\u202f234\u202f567",
    )


@pytest.mark.parametrize(
    ("count", "english", "french"),
    [
        (0, "0 stores", "0 magasin"),
        (1, "1 store", "1 magasin"),
        (1.5, "1.5 stores", "1,5 magasin"),
        (2, "2 stores", "2 magasins"),
    ],
)
def test_plural_follows_the_rules_of_the_language(count: float, english: str, french: str) -> None:
    assert (ENGLISH.plural("stores", count), FRENCH.plural("stores", count)) == (english, french)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-5, "0 s"),
        (0, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "119 min"),
        (7200, "2 h"),
        (172_799, "47 h"),
        (172_800, "2 days"),
        (90_000_000, "1,041 days"),
    ],
)
def test_duration_is_formatted_in_the_fitting_unit(seconds: int, expected: str) -> None:
    assert ENGLISH.duration(timedelta(seconds=seconds)) == expected


def test_past_time_is_formatted_as_ago() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)

    assert ENGLISH.ago(now - timedelta(minutes=3), now) == "3 min ago"
    assert FRENCH.ago(now - timedelta(minutes=3), now) == "il y a 3 min"


@pytest.mark.parametrize(
    ("size", "english", "french"),
    [
        (0, "0.0 KiB", "0,0 Kio"),
        (1536, "1.5 KiB", "1,5 Kio"),
        (5 * 1024**3, "5.0 GiB", "5,0 Gio"),
        (5 * 1024**5, "5120.0 TiB", "5120,0 Tio"),
    ],
)
def test_size_is_formatted_in_the_fitting_unit(size: int, english: str, french: str) -> None:
    assert (ENGLISH.size(size), FRENCH.size(size)) == (english, french)
