"""Heartbeats, and program terms by ETag."""

import dataclasses

import msgspec
import pytest

from sync.delivery.outcomes import Blocked, BlockedReason, FailureCause, RetryLater
from sync.delivery.transports.batch.control_requests import NewTerms, fetch_terms, send_heartbeat
from sync.delivery.transports.central_client import CentralClient
from sync.protocol.wire import AcceptedThrough, EpochExtent, Heartbeat, HeartbeatAnswer
from tests.support.central import Answer, Fault, ScriptedCentral, faults
from tests.support.central.terms import PROGRAM
from tests.support.transports import BOOT, EPOCH, batch_transport, sessions, window

HEARTBEAT = Heartbeat(
    store_id="store-1",
    till_id="till-1",
    epoch=EPOCH,
    boot_id=BOOT,
    agent_version="0.1.0",
    sent_at="2026-03-04T05:06:07.000000Z",
    sent_monotonic_us=1,
    last_sequence=3,
    watermark=3,
    outstanding=0,
    dead_letters=0,
    oldest_undelivered_at=None,
    last_activity_at=None,
    database_bytes=1,
    free_bytes=1,
    epochs=[EpochExtent(epoch="older", last_sequence=9)],
)
TOO_MANY_EPOCHS = {
    "statusCode": 403,
    "errorMessage": "This till began too many epochs",
    "errorCode": "TOO_MANY_EPOCHS",
}
NOT_THE_PROTOCOLS = [
    faults.captive_portal,
    faults.gateway(500),
    faults.respond_with(Answer.of(200, {"epochs": [{"epoch": EPOCH, "acceptedThrough": -1}]})),
    faults.respond_with(Answer.of(200, ["not an object"])),
    faults.respond_with(Answer.of(201, {})),
]


@pytest.mark.parametrize("fault", [faults.answer_lost, faults.reset_before])
async def test_heartbeat_on_a_connection_that_breaks_is_sent_again_once(
    central: ScriptedCentral, client: CentralClient, fault: Fault
) -> None:
    """A proxy may close an idle connection in the moment of the next heartbeat."""
    await send_heartbeat(client, HEARTBEAT)
    central.script(fault)

    assert await send_heartbeat(client, HEARTBEAT) is not None
    assert len(central.requests) == 3


async def test_heartbeat_response_has_accepted_sequences(
    central: ScriptedCentral, client: CentralClient
) -> None:
    await batch_transport(client).send(window(*sessions(1, 3)), probing=False)
    assert await send_heartbeat(client, HEARTBEAT) == HeartbeatAnswer(
        epochs=[
            AcceptedThrough(epoch=EPOCH, accepted_through=3),
            AcceptedThrough(epoch="older", accepted_through=0),
        ]
    )
    assert central.heartbeats == [HEARTBEAT]


@pytest.mark.parametrize("status", [401, 403])
async def test_heartbeat_reports_a_refused_caller(
    central: ScriptedCentral, client: CentralClient, status: int
) -> None:
    central.script(faults.gateway(status))
    heard = await send_heartbeat(client, HEARTBEAT)
    assert isinstance(heard, Blocked)
    assert heard.http_status == status


@pytest.mark.parametrize("fault", NOT_THE_PROTOCOLS)
async def test_unanswered_heartbeat_returns_no_answer(
    central: ScriptedCentral, client: CentralClient, fault: Fault
) -> None:
    central.script(fault)
    assert isinstance(await send_heartbeat(client, HEARTBEAT), RetryLater | None)


async def test_terms_are_fetched_again_only_when_changed(
    central: ScriptedCentral, client: CentralClient
) -> None:
    first = await fetch_terms(client, None)
    assert isinstance(first, NewTerms)
    assert first.terms == PROGRAM
    assert await fetch_terms(client, first.etag) is None
    central.program = msgspec.structs.replace(PROGRAM, currency="USD")
    second = await fetch_terms(client, first.etag)
    assert isinstance(second, NewTerms)
    assert (second.terms.currency, second.etag != first.etag) == ("USD", True)


async def test_unsolicited_304_is_invalid(central: ScriptedCentral, client: CentralClient) -> None:
    central.script(faults.respond_with(Answer(304)))
    assert isinstance(await fetch_terms(client, None), RetryLater)


@pytest.mark.parametrize("fault", [*NOT_THE_PROTOCOLS, faults.answer_lost])
async def test_foreign_response_changes_no_terms(
    central: ScriptedCentral, client: CentralClient, fault: Fault
) -> None:
    central.script(fault)
    found = await fetch_terms(client, None)
    assert isinstance(found, RetryLater)
    assert found.cause in set(FailureCause)


async def test_missing_program_endpoint_is_reported(
    central: ScriptedCentral, client: CentralClient
) -> None:
    elsewhere = dataclasses.replace(client, url=f"{central.url}/elsewhere")
    assert isinstance(await fetch_terms(elsewhere, None), Blocked)


async def test_refusal_of_a_new_epoch_holds_the_queue_and_names_the_cause(
    central: ScriptedCentral, client: CentralClient
) -> None:
    """Not as rejected credentials: the advice would be wrong."""
    refused = faults.respond_with(Answer.of(403, TOO_MANY_EPOCHS))
    central.script(refused, refused)

    by_heartbeat = await send_heartbeat(client, HEARTBEAT)
    by_batch = await batch_transport(client).send(window(*sessions(1, 3)), probing=False)

    expected = Blocked(BlockedReason.TOO_MANY_EPOCHS, "This till began too many epochs", 403)
    assert by_heartbeat == expected
    assert (by_batch.results, by_batch.stop) == ([], expected)
