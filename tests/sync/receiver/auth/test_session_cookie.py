"""Signed session cookies."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.receiver.auth.session_cookie import GOOD_FOR, is_good, new_pass

AT = datetime(2026, 6, 1, tzinfo=UTC)
TOKEN = b"s3cret"


@pytest.mark.parametrize(
    ("after", "expected"),
    [(timedelta(), True), (GOOD_FOR - timedelta(seconds=1), True), (GOOD_FOR, False)],
)
def test_cookie_is_valid_until_it_expires(after: timedelta, expected: bool) -> None:  # noqa: FBT001 - a case
    assert is_good(new_pass(TOKEN, AT), TOKEN, AT + after) is expected


def test_new_token_invalidates_cookies_of_the_old_one() -> None:
    assert not is_good(new_pass(b"old", AT), TOKEN, AT)


def test_expiry_cannot_be_tampered_with() -> None:
    until, _, signed = new_pass(TOKEN, AT).partition(".")

    assert not is_good(f"{int(until) + 1}.{signed}", TOKEN, AT)


@given(shown=st.text() | st.from_regex(r"[0-9]{1,14}\.[0-9a-f]{0,64}", fullmatch=True))
def test_forged_cookie_is_rejected(shown: str) -> None:
    assert not is_good(shown, TOKEN, AT)
