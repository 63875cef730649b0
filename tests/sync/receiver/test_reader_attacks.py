"""Attacks on the read access of head office, over HTTP."""

from pathlib import Path

import pytest

from tests.support.head_office.receiver import Receiver, receiver_under_test, settings_in
from tests.sync.receiver.conftest import StartReceiver

TOKEN = "correct-horse-battery-staple"  # noqa: S105 - of these tests only
READ = ["/", "/history", "/history.json", "/stores/0042", "/v1/stores", "/v1/completeness"]


def proxied(path: str, version: str, *headers: str) -> bytes:
    """Return a reader's request as a proxy on this machine sends it on."""
    lines = [f"GET {path} HTTP/{version}", "Host: 127.0.0.1:8580", *headers, "Connection: close"]
    return "\r\n".join([*lines, "", ""]).encode()


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
@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_default_reverse_proxy_does_not_make_the_world_local(
    receiver: Receiver, path: str, version: str
) -> None:
    """nginx's `proxy_pass` alone: Host rewritten, no other header, from 127.0.0.1."""
    response = await receiver.send_raw(proxied(path, version))

    assert response.status == 401


async def test_default_reverse_proxy_is_refused_where_this_machine_is_opened(
    start_receiver: StartReceiver,
) -> None:
    """nginx before 1.29.7 shows by HTTP/1.0 alone; later ones, and others, if they name anybody."""
    receiver = await start_receiver(access={"open_on_loopback": True})

    here = await receiver.send_raw(proxied("/", "1.1"))
    by_nginx = await receiver.send_raw(proxied("/", "1.0"))
    by_another = await receiver.send_raw(proxied("/", "1.1", "X-Forwarded-For: 198.51.100.7"))

    assert (here.status, by_nginx.status, by_another.status) == (200, 401, 401)


async def test_session_cookie_is_no_function_of_token_and_time(guarded: Receiver) -> None:
    """Otherwise a copied cookie allows an offline search for the token."""
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


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "same-origin"},
        {"Sec_Fetch_Site": "none"},
        {"Origin": "http://hq.example:8580", "Host": "hq.example:8580"},
        {"Origin": "https://hq.example", "X_Forwarded_Host": "hq.example"},
        {},
    ],
)
async def test_form_of_our_own_page_is_accepted(
    start_receiver: StartReceiver, token_file: Path, headers: dict[str, str]
) -> None:
    access = {"admin_token_file": token_file, "trusted_proxies": ["127.0.0.1"]}
    receiver = await start_receiver(access=access)

    assert await sign_in(receiver, **headers) != ""


async def test_browsers_name_the_origin_of_our_own_forms(guarded: Receiver) -> None:
    """By "no-referrer" they would send `Origin: null`, as with the forms of a hidden attacker."""
    assert (await guarded.get("/sign-in")).header("Referrer-Policy") == "same-origin"


async def test_behind_a_trusted_tls_proxy_the_cookie_is_for_tls_and_this_host(
    start_receiver: StartReceiver, token_file: Path
) -> None:
    access = {"admin_token_file": token_file, "trusted_proxies": ["127.0.0.1"]}
    receiver = await start_receiver(access=access)
    form = f"token={TOKEN}".encode()

    signed = await receiver.request("POST", "/sign-in", form, X_Forwarded_Proto="https")
    cookie = signed.header("Set-Cookie") or ""
    pair = cookie.partition(";")[0]
    # As a network attacker, or another host of the domain, could plant it.
    planted = pair.removeprefix("__Host-")
    own = await receiver.get("/v1/stores", Cookie=pair, X_Forwarded_Proto="https")
    other = await receiver.get("/v1/stores", Cookie=planted, X_Forwarded_Proto="https")

    assert cookie.startswith("__Host-loyalty_hq_reader=")
    assert {"Secure", "HttpOnly", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert "Domain" not in cookie
    assert (own.status, other.status) == (200, 401)


async def test_behind_a_trusted_proxy_each_client_waits_for_its_own_wrong_tokens(
    start_receiver: StartReceiver, token_file: Path
) -> None:
    access = {"admin_token_file": token_file, "trusted_proxies": ["127.0.0.1"]}
    receiver = await start_receiver(access=access)
    await receiver.request("POST", "/sign-in", b"token=wrong", X_Forwarded_For="198.51.100.7")

    attacker = await receiver.request(
        "POST", "/sign-in", f"token={TOKEN}".encode(), X_Forwarded_For="198.51.100.7"
    )
    reader = await sign_in(receiver, X_Forwarded_For="198.51.100.8")

    assert attacker.status == 429
    assert reader != ""


async def test_waiting_peer_cannot_change_its_address(guarded: Receiver) -> None:
    await guarded.request("POST", "/sign-in", b"token=wrong")

    again = await guarded.request("POST", "/sign-in", b"token=x", X_Forwarded_For="198.51.100.8")

    assert again.status == 429


async def test_wrong_tokens_in_the_form_do_not_stop_programs_with_the_right_one(
    guarded: Receiver,
) -> None:
    """Prometheus on the address of the attacker: behind one NAT, or behind one proxy."""
    for number in range(9):
        await guarded.request("POST", "/sign-in", f"token=guess-{number}".encode())

    assert (await guarded.get("/metrics", Authorization=f"Bearer {TOKEN}")).status == 200


async def test_signed_in_reader_reads_on_while_others_at_its_address_guess(
    guarded: Receiver,
) -> None:
    cookie = await sign_in(guarded)
    for number in range(9):
        await guarded.request("POST", "/sign-in", f"token=guess-{number}".encode())
        await guarded.get("/v1/stores", Authorization=f"Bearer guess-{number}")

    assert (await guarded.get("/", Cookie=cookie)).status == 200


async def test_link_signs_in_once_despite_guesses_from_its_address(guarded: Receiver) -> None:
    """The person at the terminal is not locked out by guesses from this machine."""
    await guarded.request("POST", "/sign-in", b"token=wrong")
    (link,) = guarded.server.sign_in_links
    form = f"link={link.partition('#')[2]}&token=".encode()

    answers = [await guarded.request("POST", "/sign-in", form) for _ in range(2)]

    assert [one.status for one in answers] == [303, 403]
    assert answers[1].header("Set-Cookie") is None


async def test_visiting_the_link_without_the_form_spends_nothing(guarded: Receiver) -> None:
    """A preview, a prefetching browser, a HEAD request."""
    (link,) = guarded.server.sign_in_links
    secret = link.partition("#")[2]
    for path in ("/sign-in", f"/sign-in?link={secret}"):
        await guarded.request("GET", path)
        await guarded.request("HEAD", path)

    assert (await guarded.request("POST", "/sign-in", f"link={secret}".encode())).status == 303


async def test_no_secret_is_logged(guarded: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    (link,) = guarded.server.sign_in_links
    secret = link.partition("#")[2]
    with caplog.at_level("DEBUG"):
        cookie = await sign_in(guarded)
        for token in (secret, "guess-with-twenty-letters"):
            await guarded.request("POST", "/sign-in", f"token={token}&link={token}".encode())
            await guarded.get(f"/v1/stores?token={token}", Authorization=f"Bearer {token}")
        await guarded.request("POST", "/sign-out", b"", Cookie=cookie)

    logged = caplog.text + "".join(str(record.__dict__) for record in caplog.records)
    secrets = (secret, TOKEN, "guess-with-twenty-letters", cookie.partition("=")[2])
    assert [one for one in secrets if one in logged] == []


async def test_sign_in_and_sign_out_are_in_the_audit_log_with_the_client(
    start_receiver: StartReceiver, token_file: Path
) -> None:
    access = {"admin_token_file": token_file, "trusted_proxies": ["127.0.0.1"]}
    receiver = await start_receiver(access=access)
    cookie = await sign_in(receiver, X_Forwarded_For="198.51.100.7")
    await receiver.request("POST", "/sign-out", b"", Cookie=cookie)

    entries = receiver.rows("SELECT action, actor, origin FROM audit_log ORDER BY rowid")

    assert entries == [
        ("sign-in", "readers' token", "198.51.100.7"),
        ("sign-out", "signed-in reader", "127.0.0.1"),
    ]


async def test_receiver_of_the_same_database_and_token_knows_the_session(
    guarded: Receiver, token_file: Path
) -> None:
    cookie = await sign_in(guarded)
    settings = settings_in(guarded.directory, access={"admin_token_file": token_file})
    async with receiver_under_test(settings) as other:
        known = await other.get("/v1/stores", Cookie=cookie)
        await other.request("POST", "/sign-out", b"", Cookie=cookie)

    assert known.status == 200
    assert (await guarded.get("/v1/stores", Cookie=cookie)).status == 401


@pytest.fixture
def new_token_file(tmp_path: Path) -> Path:
    file = tmp_path / "new"
    file.write_text("another-token-after-the-theft\n")
    return file


async def test_new_token_ends_every_session(guarded: Receiver, new_token_file: Path) -> None:
    cookie = await sign_in(guarded)
    settings = settings_in(guarded.directory, access={"admin_token_file": new_token_file})
    async with receiver_under_test(settings) as restarted:
        assert (await restarted.get("/v1/stores", Cookie=cookie)).status == 401
