"""Attacks on the read access of head office, over HTTP."""

from pathlib import Path

import pytest

from tests.support.head_office.receiver import Receiver
from tests.sync.receiver.conftest import StartReceiver

TOKEN = "correct-horse-battery-staple"  # noqa: S105 - of these tests only
READ = ["/", "/history", "/history.json", "/stores/0042", "/v1/stores", "/v1/completeness"]
PROXIED = {"Host": "127.0.0.1:8580"}


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "admin"
    file.write_text(f"{TOKEN}\n")
    return file


@pytest.fixture
async def guarded(start_receiver: StartReceiver, token_file: Path) -> Receiver:
    """A receiver that readers sign in to with `TOKEN`."""
    return await start_receiver(access={"admin_token_file": token_file})


async def sign_in(receiver: Receiver, token: str = TOKEN, **headers: str) -> str:
    """Sign in; return the cookie."""
    form = f"token={token}".encode()
    response = await receiver.request("POST", "/sign-in", form, **headers)
    assert response.status == 303
    return (response.header("Set-Cookie") or "").partition(";")[0]


@pytest.mark.parametrize("path", READ)
async def test_default_reverse_proxy_does_not_make_the_world_local(
    start_receiver: StartReceiver, path: str
) -> None:
    """nginx's `proxy_pass` alone: Host rewritten, no other header, from 127.0.0.1."""
    receiver = await start_receiver()

    response = await receiver.request("GET", path, **PROXIED)

    assert response.status == 401


async def test_session_cookie_is_no_function_of_token_and_time(guarded: Receiver) -> None:
    """Else whoever copies a cookie tries tokens at home until one signs the same cookie."""
    assert await sign_in(guarded) != await sign_in(guarded)


async def test_copied_session_cookie_is_dead_after_sign_out(guarded: Receiver) -> None:
    cookie = await sign_in(guarded)
    before = await guarded.get("/v1/stores", Cookie=cookie)

    await guarded.request("POST", "/sign-out", b"", Cookie=cookie)

    after = await guarded.get("/v1/stores", Cookie=cookie)
    assert (before.status, after.status) == (200, 401)


async def test_tokens_cannot_be_tried_one_after_the_other_in_the_form(guarded: Receiver) -> None:
    tries = [
        (await guarded.request("POST", "/sign-in", f"token=guess-{number}".encode())).status
        for number in range(20)
    ]
    right = await guarded.request("POST", "/sign-in", f"token={TOKEN}".encode())

    assert tries[0] == 403
    assert set(tries[1:]) == {429}
    assert (right.status, right.header("Set-Cookie")) == (429, None)
    assert int(right.header("Retry-After") or 0) >= 1


async def test_tokens_cannot_be_tried_one_after_the_other_at_the_api(guarded: Receiver) -> None:
    tries = [
        (await guarded.get("/v1/stores", Authorization=f"Bearer guess-{number}")).status
        for number in range(20)
    ]
    right = await guarded.get("/v1/stores", Authorization=f"Bearer {TOKEN}")

    assert tries[0] == 401
    assert set(tries[1:]) == {429}
    assert int(right.header("Retry-After") or 0) >= 1


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "cross-site"},
        # Another port of this machine is the same site, and any local user can listen there.
        {"Sec_Fetch_Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
@pytest.mark.parametrize("path", ["/sign-in", "/sign-out"])
async def test_form_of_another_site_is_refused(
    guarded: Receiver, path: str, headers: dict[str, str]
) -> None:
    cookie = await sign_in(guarded)
    form = f"token={TOKEN}".encode()

    response = await guarded.request("POST", path, form, Cookie=cookie, **headers)
    still = await guarded.get("/v1/stores", Cookie=cookie)

    assert (response.status, response.header("Set-Cookie")) == (403, None)
    assert still.status == 200
