"""The form of a token: it names its agent, and nothing but a token does."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.receiver.auth.tokens import AgentName, hash_of, make_token, name_in

NAMES = st.builds(
    AgentName,
    st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True),
    st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True),
)
SECRETS = st.binary(min_size=1, max_size=64)


def named(text: str) -> str:
    """Return what would be a token if `text` were a name."""
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode() + ".c2VjcmV0"


@given(name=NAMES, secret=SECRETS)
def test_token_names_the_agent_that_it_was_made_for(name: AgentName, secret: bytes) -> None:
    assert name_in(make_token(name, secret)) == name


@given(name=NAMES, secret=SECRETS)
def test_token_can_stand_in_a_header_and_in_a_file_of_one_line(
    name: AgentName, secret: bytes
) -> None:
    token = make_token(name, secret)

    assert token.isascii()
    assert token.isprintable()
    assert " " not in token


@given(name=NAMES, other=NAMES, secret=SECRETS)
def test_two_agents_never_share_a_token(name: AgentName, other: AgentName, secret: bytes) -> None:
    assert (make_token(name, secret) == make_token(other, secret)) == (name == other)


@given(text=st.text() | st.text("AQZaqz09-_.="))
def test_any_text_at_all_is_a_name_or_none(text: str) -> None:
    name = name_in(text)

    assert name is None or name_in(make_token(name, b"secret")) == name


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "c3RvcmUvdGlsbA",
        "c3RvcmUvdGlsbA.",
        ".c2VjcmV0",
        "é.c2VjcmV0",
        "\udcff.c2VjcmV0",
        named("store"),
        named("store/till/more"),
        named("/till"),
        named("store/"),
        named("store/till\0"),
        named("store/till\n"),
        named("../till"),
        named("store/" + "t" * 65),
    ],
)
def test_what_names_no_agent_is_no_token(token: str) -> None:
    assert name_in(token) is None


@given(name=NAMES, secret=SECRETS)
def test_stored_hash_shows_nothing_of_the_token(name: AgentName, secret: bytes) -> None:
    token = make_token(name, secret)

    assert token not in hash_of(token)
    assert hash_of(token) != hash_of(token + "x")


def test_token_of_bytes_that_are_no_text_has_a_hash_too() -> None:
    """A header can hold any byte."""
    assert len(hash_of("\udcff")) == 64
