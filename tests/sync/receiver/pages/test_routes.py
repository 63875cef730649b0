"""The pages over HTTP: content, access control, content security."""

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest

from sync.receiver.pages import login as door
from sync.runtime.refusal_log import fingerprint
from tests.support.head_office.messages import SimulatedAgent, answer, session, wire_time
from tests.support.head_office.receiver import Receiver
from tests.support.patience import PATIENCE_SECONDS
from tests.support.raw_http import HttpResponse
from tests.sync.receiver.conftest import StartReceiver
from tests.sync.receiver.pages.html_page import Page

HOSTILE = "<script>alert(1)<script>\"'&{{7*7}}"
PROXY = {"trusted_proxy_header": "X-User", "trusted_proxies": ["127.0.0.1"]}
READ = ["/", "/history", "/stores/0042", "/sessions/one", "/sessions?id=one"]


def page_of(response: HttpResponse) -> Page:
    return Page(response.body.decode())


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "admin"
    file.write_text("s3cret-of-twenty-letters\n")
    return file


async def test_fleet_page_shows_each_condition_by_word_and_colour(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    await receiver.heartbeat(till, deadLetters=2, freeBytes=10**12)

    page = page_of(await receiver.get("/"))

    (chip,) = [one for one in page.of("span") if "chip" in one.get("class", "")]
    assert chip["class"] == "chip refused"
    assert "Dead letters" in page.text
    assert "/stores/0042" in page.links


async def test_fleet_page_without_stores_says_how_to_begin(
    start_receiver: StartReceiver,
) -> None:
    receiver = await start_receiver()

    assert "loyalty-hq enroll" in page_of(await receiver.get("/")).text


async def test_search_without_results_says_so(receiver: Receiver) -> None:
    assert "No store matches" in page_of(await receiver.get("/?search=zzz")).text


async def test_store_page_shows_its_tills(receiver: Receiver, till: SimulatedAgent) -> None:
    await receiver.send(till, session(1), session(2, type="points.spent"))
    await receiver.heartbeat(till, sentAt=wire_time(3600), freeBytes=5 * 1024**3)

    text = page_of(await receiver.get("/stores/0042")).text

    assert {"till-1", "60 min ahead", "5.0 GiB", "UNKNOWN_TYPE"} <= set(text.split("\n"))


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", "ended, not confirmed: 3 captures up to"),
        ("fr", "terminée, non confirmée : 3 saisies jusqu'au"),
    ],
)
async def test_store_page_says_that_a_replaced_machine_may_hold_more(
    receiver: Receiver, till: SimulatedAgent, language: str, words: str
) -> None:
    await receiver.send(till, *(session(number) for number in range(1, 4)))
    await receiver.heartbeat(SimulatedAgent(epoch="epoch-of-the-replacement"))

    text = page_of(await receiver.get(f"/stores/0042?lang={language}")).text

    assert words in text.replace("\n", " ").replace("\u00a0", " ")


@pytest.mark.parametrize(("language", "words"), [("en", ": 1 capture up"), ("fr", ": 1 saisie ")])
async def test_store_page_counts_a_single_capture(
    receiver: Receiver, till: SimulatedAgent, language: str, words: str
) -> None:
    await receiver.send(till, session(1))
    await receiver.heartbeat(SimulatedAgent(epoch="epoch-of-the-replacement"))

    text = page_of(await receiver.get(f"/stores/0042?lang={language}")).text

    assert words in text.replace("\n", " ").replace("\u00a0", " ")


async def test_store_page_names_the_terms_that_a_till_refuses_and_runs_no_script_in_them(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    await receiver.heartbeat(till, termsRefused=f"prompt: {HOSTILE}")

    answered = await receiver.get("/stores/0042")

    assert f"till-1 does not use the program terms of head office: prompt: {HOSTILE}" in page_of(
        answered
    ).text.replace("\n", "")
    assert b"<script>alert" not in answered.body


async def test_store_page_tells_what_a_till_salvages_from_a_damaged_database(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    counts = {"pending": 0, "salvaged": 40, "unreadable": 2}
    await receiver.heartbeat(till, salvage=counts)

    text = page_of(await receiver.get("/stores/0042")).text.replace("\n", "")

    assert "Captures salvaged from it: 40; lost: 2; files not read yet: 0." in text
    told = json.loads((await receiver.get("/v1/stores/0042")).body)
    (epoch,) = told["stores"][0]["epochs"]
    names = ("salvagePending", "salvageSalvaged", "salvageUnreadable")
    assert [epoch[name] for name in names] == [0, 40, 2]


async def test_till_without_heartbeat_shows_no_unknown_values(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    await receiver.send(till, session(1))

    text = page_of(await receiver.get("/stores/0042")).text

    assert text.split("\n").count("not reported") == len(["last capture", "clock", "free space"])


@pytest.mark.parametrize("path", ["/sessions/one", "/sessions?id=one", "/sessions?id=%20one%20"])
async def test_session_page_does_not_show_the_address(
    receiver: Receiver, till: SimulatedAgent, path: str
) -> None:
    await receiver.send(till, session(1, "one"), answer(2, "one", "guest@example.com"))

    response = await receiver.get(path)

    assert {"Session one", "accepted"} <= set(page_of(response).text.split("\n"))
    assert b"example.com" not in response.body


async def test_store_page_shows_who_accepted_a_loss_and_why(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    await receiver.heartbeat(till, lastSequence=3)
    await receiver.send(till, session(4), baseSequence=4)
    before = await receiver.get("/stores/0042")
    with closing(sqlite3.connect(receiver.database)) as connection, connection:
        who = ("2026-03-04T05:06:07.000000Z", "alice", "disk <burnt>")
        names = ("acknowledged_at", "acknowledged_by", "acknowledged_reason")
        connection.execute(f"UPDATE gaps SET {', '.join(f'{name} = ?' for name in names)}", who)  # noqa: S608 - our own names

    after = await receiver.get("/stores/0042")

    assert "Loss accepted" not in page_of(before).text
    assert "Loss accepted by alice: disk <burnt>" in page_of(after).text


@pytest.mark.parametrize("path", ["/stores/none", "/sessions/none", "/sessions", "/sessions/%00"])
async def test_missing_resource_is_a_404_page(receiver: Receiver, path: str) -> None:
    response = await receiver.get(path)

    assert response.status == 404
    assert "Back to the fleet" in page_of(response).text


async def test_external_text_is_escaped(receiver: Receiver, till: SimulatedAgent) -> None:
    """Store names too: enrolment rejects markup, but the database may be edited by others."""
    await receiver.enroll(SimulatedAgent(HOSTILE, HOSTILE))
    bad = session(2, "x", type=HOSTILE)
    sent = await receiver.send(till, session(1, HOSTILE), bad, agentVersion=HOSTILE)
    encoded = quote(HOSTILE, safe="")
    question = f"/?search={encoded}&state={encoded}"

    paths = ["/", "/stores/0042", f"/stores/{encoded}", f"/sessions?id={encoded}", question]
    answers = [await receiver.get(path) for path in paths]

    assert [response.status for response in (sent, *answers)] == [200] * 6
    for response in answers:
        page = page_of(response)
        assert [one for one in page.of("script") if "src" not in one] == []
        assert HOSTILE in page.text


@pytest.mark.parametrize("path", ["/", "/stores/0042", "/sign-in"])
async def test_content_security_policy_allows_own_resources_only(
    receiver: Receiver, path: str
) -> None:
    response = await receiver.get(path)

    policy = response.header("Content-Security-Policy") or ""
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    page = page_of(response)
    assert all(not set(attributes) & {"style", "onclick", "onload"} for _, attributes in page.tags)
    sources = [one["href"] for one in page.of("link")] + [one["src"] for one in page.of("script")]
    assert all([(await receiver.get(source)).status == 200 for source in sources])
    assert all(source.startswith("/static/") for source in sources)


@pytest.mark.parametrize("name", ["none.css", "..%2Fsite.py", "%2e%2e/site.py", "pages.css%00"])
async def test_only_listed_static_files_are_served(receiver: Receiver, name: str) -> None:
    assert (await receiver.get(f"/static/{name}")).status == 404


async def test_page_language_follows_accept_language(receiver: Receiver) -> None:
    liked = await receiver.get("/", Accept_Language="fr-CA,fr;q=0.9,en;q=0.8")
    requested = await receiver.get("/?lang=en", Accept_Language="fr")

    assert [page_of(one).of("html")[0]["lang"] for one in (liked, requested)] == ["fr", "en"]
    assert "Parc de magasins" in page_of(liked).text
    assert liked.header("Content-Language") == "fr"


async def test_requested_language_is_kept_in_links(receiver: Receiver) -> None:
    page = page_of(await receiver.get("/?lang=fr&search=42"))

    own = [link for link in page.links if link.startswith("/") and "lang=en" not in link]
    assert own
    assert all("lang=fr" in link for link in own)
    assert any("lang=en" in link and "search=42" in link for link in page.links)


@pytest.mark.parametrize("path", READ)
async def test_unauthenticated_reader_is_asked_to_sign_in_if_a_token_is_set(
    start_receiver: StartReceiver, token_file: Path, path: str
) -> None:
    receiver = await start_receiver(access={"admin_token_file": token_file})

    response = await receiver.get(path)

    assert response.status == 401
    (target,) = [one for one in page_of(response).of("input") if one["name"] == "next"]
    assert target["value"] == path
    assert "0042" not in page_of(response).text


async def test_session_lasts_from_sign_in_to_sign_out(
    start_receiver: StartReceiver, token_file: Path
) -> None:
    receiver = await start_receiver(access={"admin_token_file": token_file})

    signed = await receiver.request(
        "POST", "/sign-in", b"token=s3cret-of-twenty-letters&next=/%3Fsearch%3D1"
    )
    cookie = (signed.header("Set-Cookie") or "").partition(";")[0]
    page = await receiver.get("/", Cookie=cookie)
    stores = await receiver.get("/v1/stores", Cookie=cookie)
    out = await receiver.request("POST", "/sign-out", b"", Cookie=cookie)

    assert (signed.status, signed.header("Location")) == (303, "/?search=1")
    assert (page.status, stores.status) == (200, 200)
    assert (out.status, "Max-Age=0" in (out.header("Set-Cookie") or "")) == (303, True)


async def test_session_cookie_is_httponly_and_samesite_and_not_the_token(
    start_receiver: StartReceiver, token_file: Path
) -> None:
    receiver = await start_receiver(access={"admin_token_file": token_file})

    signed = await receiver.request("POST", "/sign-in", b"token=s3cret-of-twenty-letters")

    cookie = signed.header("Set-Cookie") or ""
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert "s3cret" not in cookie


@pytest.mark.parametrize("form", [b"token=other", b"token=", b"", b"token=%FF%00", b"\xff=\xff"])
async def test_sign_in_rejects_anything_but_the_token(
    start_receiver: StartReceiver, token_file: Path, form: bytes
) -> None:
    receiver = await start_receiver(access={"admin_token_file": token_file})

    response = await receiver.request("POST", "/sign-in", form)

    assert (response.status, response.header("Set-Cookie")) == (403, None)
    assert "Wrong token" in page_of(response).text


async def test_failed_sign_in_is_logged_without_the_token(
    start_receiver: StartReceiver, token_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = await start_receiver(access={"admin_token_file": token_file})

    with caplog.at_level("WARNING"):
        await receiver.request("POST", "/sign-in", b"token=other-secret")

    assert [record.message for record in caplog.records] == ["reader.sign_in_failed"]
    assert caplog.records[0].__dict__["fields"] == {
        "times": 1,
        "peer": "127.0.0.1",
        "reason": "wrong_token",
        "fingerprint": fingerprint("other-secret"),
    }
    assert "other-secret" not in caplog.text


async def test_sign_in_does_not_redirect_to_other_sites(
    start_receiver: StartReceiver, token_file: Path
) -> None:
    receiver = await start_receiver(access={"admin_token_file": token_file})

    signed = await receiver.request(
        "POST", "/sign-in", b"token=s3cret-of-twenty-letters&next=//elsewhere.example/"
    )

    assert signed.header("Location") == "/"


async def test_endless_form_is_cut_off(receiver: Receiver) -> None:
    response = await receiver.request("POST", "/sign-in", b"token=" + b"x" * 100_000)

    assert response.status == 413


async def test_slow_form_is_disconnected(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "_FORM_SECONDS", 0.05)
    host, port = receiver.address.host, receiver.address.port
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"POST /sign-in HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n")

    response = asyncio.ensure_future(reader.readuntil(b"\r\n\r\n"))
    while not response.done():
        writer.write(b"x")
        await asyncio.wait([response], timeout=0.005)
    writer.close()

    head = (await response).decode()
    assert head.startswith("HTTP/1.1 408 ")
    assert "Connection: close" in head


async def test_broken_form_upload_is_not_reported_as_database_failure(
    receiver: Receiver,
) -> None:
    _, writer = await asyncio.open_connection(receiver.address.host, receiver.address.port)
    writer.write(b"POST /sign-in HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\ntoken")
    await writer.drain()
    writer.close()
    await writer.wait_closed()

    metrics = b""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while b'route="/sign-in"' not in metrics:
            metrics = (await receiver.get("/metrics")).body

    assert b'{route="/sign-in",status="400"} 1.0' in metrics


async def test_no_sign_in_is_offered_without_a_token(
    start_receiver: StartReceiver,
) -> None:
    receiver = await start_receiver(access=PROXY)

    stranger, named = await receiver.get("/"), await receiver.get("/", X_User="ann")

    assert (stranger.status, named.status) == (401, 200)
    assert page_of(stranger).of("input") == [] or "token" not in page_of(stranger).text
    assert "no access" in page_of(stranger).text


async def test_chart_data_needs_read_access(
    start_receiver: StartReceiver, token_file: Path
) -> None:
    receiver = await start_receiver(access={"admin_token_file": token_file})

    stranger = await receiver.get("/history.json")
    reader = await receiver.get("/history.json", Authorization="Bearer s3cret-of-twenty-letters")

    assert (stranger.status, stranger.members()["errorCode"]) == (401, "UNAUTHORIZED")
    assert reader.status == 200


async def test_concurrent_visitors_share_one_history_query(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    await receiver.get("/history.json")
    await receiver.send(till, session(1, "a", occurredAt=wire_time()))

    of_all = [await receiver.get(path) for path in ("/history.json", "/history.json?store=")]
    of_it = await receiver.get(f"/history.json?store={till.store_id}")

    captured = [json.loads(one.body)["sessions"] for one in (*of_all, of_it)]
    assert [sum(hours) for hours in captured] == [0, 0, 1]


async def test_history_is_also_shown_as_a_table(receiver: Receiver, till: SimulatedAgent) -> None:
    await receiver.send(till, session(1, "a", occurredAt=wire_time()), answer(2, "a"))

    of_all = page_of(await receiver.get("/history"))
    of_it = page_of(await receiver.get("/history?store=0042"))
    of_none = page_of(await receiver.get("/history?store=0043%00"))

    assert of_all.text.split().count("1") == of_it.text.split().count("1") == 2
    assert of_none.text.split().count("1") == 0


async def test_unreadable_database_yields_an_error_page(receiver: Receiver) -> None:
    with closing(sqlite3.connect(receiver.database)) as tool, tool:
        tool.execute("ALTER TABLE agents RENAME TO gone")

    response = await receiver.get("/")

    assert response.status == 503
    assert "database is not available" in page_of(response).text
