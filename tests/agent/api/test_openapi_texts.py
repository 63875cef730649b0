"""The OpenAPI document says what each member means; its errors are those that the agent answers."""

import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.api import request_body
from agent.api.openapi.schemas import error_examples, member_texts
from agent.api.reasons import header_value
from agent.api.responses import to_http_error
from agent.store.files.storage_errors import StorageDownError
from tests.agent.api.conftest import StartAgent
from tests.agent.api.status.test_status import full_storage
from tests.agent.api.test_openapi import document_of_api, operations
from tests.agent.api.test_server import EVERY_KIND, POST, request_bytes
from tests.support.agent.in_process import SESSIONS, Agent, email_path
from tests.support.raw_http import HttpResponse

DEAD_LETTERS = "/agent/v1/dead-letters"
NO_LETTER = request_bytes("GET", f"{DEAD_LETTERS}/{'0' * 8}-0000-4000-8000-{'0' * 12}/7")
# A request that an agent without settings answers with the example of this status.
REQUESTS = {
    "400": EVERY_KIND["host missing"][0],
    "403": EVERY_KIND["foreign host"][0],
    "404": request_bytes("GET", "/agent/v1/session"),
    "405": request_bytes("DELETE", "/healthz"),
    "409": request_bytes("POST", "/agent/v1/sync"),
    "413": POST + b"Content-Length: 20000\r\n\r\n" + b" " * 20_000,
    "415": EVERY_KIND["encoding"][0],
    "417": EVERY_KIND["expectation"][0],
    "startSession.400": request_bytes("POST", SESSIONS, b"{}"),
    "setEmail.400": request_bytes("PUT", email_path("none"), b'{"status":"declined"}'),
    "showSession.404": request_bytes("GET", "/agent/v1/sessions/none"),
    "listDeadLetters.400": request_bytes("GET", f"{DEAD_LETTERS}?after=7"),
    "showDeadLetter.404": NO_LETTER,
    "retryDeadLetter.404": NO_LETTER.replace(b"GET", b"POST").replace(b"/7", b"/7/retry"),
    "discardDeadLetter.404": NO_LETTER.replace(b"GET", b"POST").replace(b"/7", b"/7/discard"),
}


def schemas() -> dict[str, dict[str, Any]]:
    components: dict[str, Any] = document_of_api()["components"]  # type: ignore[assignment]
    return dict(components["schemas"])


def members() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for name, schema in schemas().items():
        for member, of_member in schema.get("properties", {}).items():
            yield name, member, of_member


def test_every_member_says_what_it_means() -> None:
    found = list(members())

    assert [(name, member) for name, member, one in found if not one.get("description")] == []
    assert len(found) > 120
    described = {(name, member) for name, texts in member_texts().items() for member in texts}
    assert described - {(name, member) for name, member, _ in found} == set()


def test_answers_may_get_members_and_clients_of_today_go_on() -> None:
    closed = [name for name, one in schemas().items() if "additionalProperties" in one]

    assert closed == []


def example_in(response: HttpResponse) -> dict[str, str]:
    body = json.loads(response.body)
    assert body["statusCode"] == response.status
    return {
        "message": body["errorMessage"],
        "code": body["errorCode"],
        "reason": response.header("Loyalty-Reason") or "",
    }


def test_every_example_of_an_error_is_compared_with_the_agent() -> None:
    compared = {*REQUESTS, "401", "408", "500", "503", "507"}

    assert set(error_examples()) == compared
    for operation in operations():
        for status, answer in operation["responses"].items():
            if status >= "400":
                content = answer["content"]["application/json"]
                assert content["example"]["statusCode"] == int(status)
                assert answer["headers"]["Loyalty-Reason"]["example"]


@pytest.mark.parametrize("name", REQUESTS)
async def test_error_is_answered_as_in_its_example(shared_agent: Agent, name: str) -> None:
    [response] = await shared_agent.send_raw(REQUESTS[name])

    assert str(response.status) == name.rpartition(".")[2]
    assert example_in(response) == error_examples()[name]


async def test_missing_token_is_answered_as_in_its_example(
    start_agent: StartAgent, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.touch(mode=0o600)
    file.write_text("secret-of-twenty-characters")
    agent = await start_agent(api={"token_file": file})

    [response] = await agent.send_raw(request_bytes("GET", "/agent/v1/status"))

    assert example_in(response) == error_examples()["401"]


def without_places(text: str) -> str:
    """Return a text without sizes and paths, which every machine has of its own."""
    return re.sub(r"[\d.,]+ [KMGT]iB|/[\w/-]*", "", text)


async def test_full_disk_is_answered_as_in_its_example(
    start_agent: StartAgent, tmp_path: Path
) -> None:
    agent = await start_agent(storage=full_storage(tmp_path / "state"))

    found = example_in(await agent.start_session({"correlationId": "x"}))

    example = error_examples()["507"]
    for name in example:
        # The header is cut at its length, which a long path reaches.
        assert without_places(found[name])[:120] == without_places(example[name])[:120]


async def test_late_body_is_answered_as_in_its_example(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = error_examples()["408"]["reason"]
    assert f"within {request_body.BODY_TIMEOUT_SECONDS:.0f} s" in reason
    monkeypatch.setattr(request_body, "BODY_TIMEOUT_SECONDS", 0.01)

    [response] = await agent.send_raw(POST + b"Content-Length: 9\r\n\r\n{")

    assert example_in(response) | {"reason": reason} == error_examples()["408"]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("500", RuntimeError("anything")),
        (
            "503",
            StorageDownError(
                f"the database cannot be read ({sqlite3.OperationalError('disk I/O error')})"
            ),
        ),
    ],
)
def test_fault_of_the_machine_is_answered_as_in_its_example(status: str, error: Exception) -> None:
    found = to_http_error(error)

    assert {
        "message": found.message,
        "code": found.code.value,
        "reason": header_value(found.reason or found.message),
    } == error_examples()[status]
