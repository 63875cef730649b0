"""Tokens and addresses of head office's callers: in no log, metric, error or page's address.

The agent's are in `tests/agent/api/test_privacy.py`.
"""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from sync.runtime.logging import TextFormatter
from tests.attacks.conftest import READERS_TOKEN, Target, attacked_head_office
from tests.support.head_office.messages import SimulatedAgent, answer, session

NAME = "distinctive.person"
ADDRESS = f"{NAME}@example.org"
WRONG = "a-wrong-token-that-someone-mistyped-0123456789"


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    directory = tmp_path_factory.mktemp("secrets") / "state"
    with attacked_head_office(directory, SimulatedAgent()) as office:
        yield office


def told(office: Target) -> dict[str, str]:
    """Return each secret by its name."""
    token = office.tokens["POST"]
    return {
        "address": NAME,
        "encoded address": f"{NAME}%40example.org",
        "till's token": token.rpartition(".")[2],
        "readers' token": READERS_TOKEN,
        "wrong token": WRONG,
    }


async def use_secrets_everywhere(office: Target) -> list[str]:
    """Send addresses and tokens wherever a faulty or hostile caller could; return the answers."""
    till, post = office.till, office.write
    bearer = f"Authorization: Bearer {office.tokens['POST']}"
    requests = [
        office.request(*post, till.batch(session(1, "x"), answer(2, "x", ADDRESS))),
        office.request(*post, till.batch(answer(3, ADDRESS, ADDRESS, type=ADDRESS))),
        office.request(*post, till.batch(answer(3, "x", ADDRESS, status=ADDRESS))),
        office.request(*post, till.batch(answer(2, "x", ADDRESS, status="declined"))),
        office.request(*post, till.batch(session(3, ADDRESS, occurredAt=ADDRESS))),
        office.request(*post, till.batch(session(9, "x"))),
        office.request(*post, replace(till, store_id=ADDRESS).batch(session(1, "x"))),
        office.request(*post, till.batch(session(1, "x"), agentVersion=ADDRESS)),
        office.request(*post, f'{{"storeId":"{ADDRESS}'.encode()),
        office.request(*post, b"{}", f"Content-Encoding: {ADDRESS}"),
        office.request("POST", "/sync/v1/heartbeats", till.heartbeat(bootId=ADDRESS)),
        office.request("POST", f"/sync/v1/{ADDRESS}", b"{}"),
        office.request("PATCH", f"/sync/v1/batches?{quote(READERS_TOKEN)}={ADDRESS}"),
        office.request("GET", f"/v1/sessions/{quote(ADDRESS)}%FF"),
        office.request("GET", f"/v1/stores/{quote(ADDRESS, safe='')}"),
        office.request("GET", f"/v1/completeness?store={ADDRESS}"),
        office.request("GET", f"/static/{ADDRESS}"),
        office.request("GET", f"/{WRONG}?token={READERS_TOKEN}", b"", bearer),
        f"GET /v1/stores HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {WRONG}\r\n\r\n".encode(),
        f"GET / HTTP/1.1\r\nHost: x\r\nCookie: loyalty_hq_reader={WRONG}\r\n\r\n".encode(),
        f"GET / HTTP/1.1\r\nHost: {ADDRESS}\r\nOrigin: http://{ADDRESS}\r\n\r\n".encode(),
        f"{ADDRESS} / HTTP/1.1\r\n\r\n".encode(),
        f"GET / HTTP/1.1\r\nHost: x\r\n{ADDRESS} {READERS_TOKEN}\r\n\r\n".encode(),
        *(
            f"POST /sync/v1/batches HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
            "Content-Length: 2\r\n\r\n{}".encode()
            for token in (WRONG, READERS_TOKEN, f"{till.store_id}.{till.till_id}.{WRONG}", ADDRESS)
        ),
        f"POST /sign-in HTTP/1.1\r\nHost: x\r\nContent-Length: {6 + len(WRONG)}\r\n\r\n"
        f"token={WRONG}".encode(),
    ]
    # Each from an address of its own: after a wrong token its address has to wait.
    answers = [
        await office.send(request, f"127.0.2.{place}") for place, request in enumerate(requests, 1)
    ]
    return [f"{one.status} {one.headers} {one.body.decode()}" for one in answers]


async def test_log_of_head_office_has_no_secret(
    office: Target, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    await use_secrets_everywhere(office)

    ours = [one for one in caplog.records if one.name.startswith(("agent", "sync"))]
    raw = [f"{one.getMessage()} {vars(one)} {one.exc_info and one.exc_info[1]!r}" for one in ours]
    shown = [TextFormatter().format(record) for record in caplog.records]
    for name, secret in told(office).items():
        assert [line for line in (*raw, *shown) if secret in line] == [], name
    assert len(ours) > 10


async def test_no_answer_of_head_office_repeats_a_secret(office: Target) -> None:
    answers = await use_secrets_everywhere(office)

    for name, secret in told(office).items():
        assert [one for one in answers if secret in one] == [], name


@pytest.mark.parametrize("path", ["/metrics", "/", "/stores/0042", "/v1/stores", "/healthz"])
async def test_no_page_of_head_office_shows_a_secret(office: Target, path: str) -> None:
    await use_secrets_everywhere(office)

    response = await office.get(path)

    assert response.status == 200
    for name, secret in told(office).items():
        assert secret not in response.body.decode(), name


async def test_files_of_head_office_have_no_token(office: Target) -> None:
    await use_secrets_everywhere(office)

    files = [file for file in Path(office.database).parent.rglob("*") if file.is_file()]
    for name in ("till's token", "wrong token"):
        secret = told(office)[name].encode()
        assert [file.name for file in files if secret in file.read_bytes()] == []
