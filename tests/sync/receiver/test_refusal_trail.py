"""Refused tokens leave a trail that names peer and claimed till, and that no flood makes long."""

import base64
import logging
from pathlib import Path

import pytest

from sync.protocol.wire import HEARTBEATS_PATH
from sync.runtime.refusal_log import fingerprint
from tests.support.head_office.audit import audit_by
from tests.support.head_office.messages import SimulatedAgent
from tests.support.head_office.receiver import Receiver
from tests.support.log_fields import fields_of
from tests.sync.receiver.conftest import StartReceiver


def made_up_token(store_id: str, till_id: str, secret: str) -> str:
    name = base64.urlsafe_b64encode(f"{store_id}/{till_id}".encode()).rstrip(b"=").decode()
    return f"{name}.{secret}"


async def heartbeat_with(receiver: Receiver, token: str) -> int:
    body = SimulatedAgent().heartbeat()
    headers = {"Authorization": f"Bearer {token}"}
    return (await receiver.request("POST", HEARTBEATS_PATH, body, **headers)).status


async def test_refused_token_is_logged_with_peer_claim_and_fingerprint(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    token = made_up_token("0042", "till-1", "a-stolen-secret")

    assert await heartbeat_with(receiver, token) == 401

    assert fields_of(caplog, "agent.token_refused") == [
        {
            "times": 1,
            "peer": "127.0.0.1",
            "reason": "unknown_token",
            "store": "0042",
            "till": "till-1",
            "fingerprint": fingerprint(token),
        }
    ]
    assert "a-stolen-secret" not in caplog.text


async def test_flood_of_refused_tokens_is_one_line_and_a_sum(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    # Fewer than the receiver answers at once.
    for number in range(15):
        await heartbeat_with(receiver, made_up_token("0042", f"till-{number}", "guess"))
    await receiver.server.close()

    assert [line["times"] for line in fields_of(caplog, "agent.token_refused")] == [1, 14]


async def test_revoked_and_malformed_tokens_are_told_apart(
    receiver: Receiver, till: SimulatedAgent, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    await receiver.address.enrolment.revoke(till.name, audit_by())
    await receiver.heartbeat(till)
    await heartbeat_with(receiver, "rubbish")
    await receiver.server.close()

    found = fields_of(caplog, "agent.token_refused")
    assert [(line["reason"], line["store"]) for line in found] == [
        ("unknown_token", "0042"),
        ("malformed_token", "-"),
    ]


async def test_token_used_for_another_till_is_logged(
    receiver: Receiver, till: SimulatedAgent, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    token = receiver.tokens["0042", "till-1"]
    receiver.tokens["0042", "till-2"] = token

    answer = await receiver.heartbeat(SimulatedAgent(till_id="till-2"))

    (line,) = fields_of(caplog, "agent.token_refused")
    assert answer.status == 403
    assert (line["reason"], line["till"], line["fingerprint"]) == (
        "other_till",
        "till-1",
        fingerprint(token),
    )


async def test_peer_behind_a_trusted_proxy_is_the_forwarded_one(
    start_receiver: StartReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = await start_receiver(access={"trusted_proxies": ["127.0.0.1"]})
    caplog.set_level(logging.WARNING)
    body, token = SimulatedAgent().heartbeat(), made_up_token("0042", "till-1", "guess")
    headers = {"Authorization": f"Bearer {token}", "X-Forwarded-For": "192.0.2.7"}

    await receiver.request("POST", HEARTBEATS_PATH, body, **headers)

    (line,) = fields_of(caplog, "agent.token_refused")
    assert line["peer"] == "192.0.2.7"


async def test_refused_readers_token_is_logged(
    start_receiver: StartReceiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "readers-token"
    file.write_text("the-right-token-of-the-readers-0123456789")
    receiver = await start_receiver(access={"admin_token_file": file})
    caplog.set_level(logging.WARNING)

    await receiver.get("/v1/stores", Authorization="Bearer a-guess")

    assert fields_of(caplog, "reader.token_refused") == [
        {
            "times": 1,
            "peer": "127.0.0.1",
            "reason": "wrong_token",
            "fingerprint": fingerprint("a-guess"),
        }
    ]
    assert "a-guess" not in caplog.text
