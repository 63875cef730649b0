"""Signed session cookies."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.receiver.auth.authenticate import COOKIE_LIFETIME, is_valid_cookie, new_cookie

AT = datetime(2026, 6, 1, tzinfo=UTC)
TOKEN = b"s3cret"


@pytest.mark.parametrize(
    ("after", "expected"),
    [(timedelta(), True), (COOKIE_LIFETIME - timedelta(seconds=1), True), (COOKIE_LIFETIME, False)],
)
def test_cookie_is_valid_until_it_expires(after: timedelta, expected: bool) -> None:  # noqa: FBT001 - a case
    assert is_valid_cookie(new_cookie(TOKEN, AT), TOKEN, AT + after) is expected


def test_new_token_invalidates_cookies_of_the_old_one() -> None:
    assert not is_valid_cookie(new_cookie(b"old", AT), TOKEN, AT)


def test_expiry_cannot_be_tampered_with() -> None:
    until, _, signed = new_cookie(TOKEN, AT).partition(".")

    assert not is_valid_cookie(f"{int(until) + 1}.{signed}", TOKEN, AT)


@given(cookie=st.text() | st.from_regex(r"[0-9]{1,14}\.[0-9a-f]{0,64}", fullmatch=True))
def test_forged_cookie_is_rejected(cookie: str) -> None:
    assert not is_valid_cookie(cookie, TOKEN, AT)
