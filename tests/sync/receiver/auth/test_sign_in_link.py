"""The one-time sign-in link."""

import pytest

from sync.receiver.auth.sign_in_link import LIFETIME_SECONDS, SignInLink, local_url


class Clock:
    """A monotonic clock that moves by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_link_is_good_once() -> None:
    link = SignInLink("secret", Clock())

    assert [link.redeem("secret") for _ in range(2)] == [True, False]


@pytest.mark.parametrize("given", ["", "secre", "secret2", "é", "\udc80"])
def test_other_secret_is_refused_and_spends_nothing(given: str) -> None:
    link = SignInLink("secret", Clock())

    assert (link.redeem(given), link.redeem("secret")) == (False, True)


@pytest.mark.parametrize(("after", "expected"), [(-1, True), (0, False)])
def test_link_expires(after: float, expected: bool) -> None:  # noqa: FBT001 - a case
    clock = Clock()
    link = SignInLink("secret", clock)
    clock.seconds = LIFETIME_SECONDS + after

    assert link.redeem("secret") is expected


def test_secret_stands_where_no_server_sees_it() -> None:
    """Browsers send no fragment."""
    assert SignInLink("secret", Clock()).url("http://x:1") == "http://x:1/sign-in#secret"


@pytest.mark.parametrize(
    ("host", "is_https", "url"),
    [
        ("127.0.0.1", False, "http://127.0.0.1:8580"),
        ("0.0.0.0", True, "https://127.0.0.1:8580"),  # noqa: S104 - a case
        ("::", True, "https://[::1]:8580"),
        ("192.0.2.1", True, "https://192.0.2.1:8580"),
    ],
)
def test_link_leads_to_this_machine(host: str, is_https: bool, url: str) -> None:  # noqa: FBT001 - a case
    assert local_url(host, 8580, is_https=is_https) == url
