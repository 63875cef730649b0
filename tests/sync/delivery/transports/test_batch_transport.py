"""The protocol `batch`: results of a window."""

import os
from dataclasses import replace

import pytest

from agent.facts import Timestamp
from sync.delivery.outbox import BatchLimits
from sync.delivery.outcomes import (
    Blocked,
    BlockedReason,
    Delivered,
    FailureCause,
    Refused,
    Renumber,
    RetryLater,
    Rewind,
)
from sync.delivery.transports.batch.batch_transport import BatchTransport
from sync.delivery.transports.central_client import CentralClient
from sync.delivery.transports.short_retries import ShortRetries
from sync.protocol.wire import BATCHES_PATH, Batch, ErrorCode
from tests.support.central import Answer, Fault, ScriptedCentral, faults
from tests.support.central.batch_protocol import read_batch
from tests.support.transports import (
    BOOT,
    EPOCH,
    RecordedSleeps,
    answer,
    batch_transport,
    sender,
    session,
    sessions,
    verdicts,
    window,
)


def sent(central: ScriptedCentral) -> list[Batch]:
    """Return the batches received."""
    return [read_batch(r.body, r.encoding) for r in central.requests if r.path == BATCHES_PATH]


def sizes(central: ScriptedCentral) -> list[int]:
    return [len(batch.events) for batch in sent(central)]


async def test_window_arrives_once_and_in_order(
    central: ScriptedCentral, batch: BatchTransport
) -> None:
    first = session(1)
    events = [first, session(2), answer(3, first)]
    result = await batch.send(window(*events), probing=False)
    assert verdicts(result) == {1: Delivered(), 2: Delivered(), 3: Delivered()}
    assert result.stop is None
    assert [record.body for record in central.ledger.records] == [e.body for e in events]


async def test_batch_with_the_last_event_of_an_ended_epoch_says_so(
    central: ScriptedCentral, batch: BatchTransport
) -> None:
    batch.limits = replace(batch.limits, events=2)
    events = sessions(1, 3)
    for part in (events[:2], events[2:]):
        await batch.send(replace(window(*part), ended_at=3), probing=False)
    await batch.send(window(session(4)), probing=False)

    assert [one.ends_epoch for one in sent(central)] == [False, True, False]


async def test_batch_says_how_long_the_answer_to_the_one_before_took(
    central: ScriptedCentral, client: CentralClient
) -> None:
    """Else head office cannot tell a slow wall clock from a message that was late."""
    # Before encoding, while encoding, with the answer.
    readings = (Timestamp(0, second * 1_000_000) for second in (1, 1, 3, 4, 4, 9))
    ticking = replace(sender(), clock=lambda: next(readings))
    retries = ShortRetries(lambda: 0.5, RecordedSleeps())
    batch = BatchTransport(client, ticking, retries, BatchLimits(500, 1_048_576))
    for number in (1, 2):
        await batch.send(window(session(number)), probing=False)

    assert [one.round_trip_us for one in sent(central)] == [None, 2_000_000]


async def test_batch_document_has_sender_clocks_and_base_sequence(
    central: ScriptedCentral, batch: BatchTransport
) -> None:
    events = [replace(session(7), query_locale="fr-CA"), replace(session(8), boot_id="before")]
    await batch.send(window(*events, base_sequence=7), probing=False)
    request = central.requests[0]
    assert (request.headers["Content-Encoding"], request.headers["Content-Type"]) == (
        "zstd",
        "application/json",
    )
    (one,) = sent(central)
    assert (one.store_id, one.till_id, one.epoch, one.base_sequence) == (
        "store-1",
        "till-1",
        EPOCH,
        7,
    )
    assert (one.sent_at, one.sent_monotonic_us) == ("2026-03-04T05:06:07.000000Z", 123_000_000)
    assert [event.occurred_at for event in one.events] == [
        "2026-03-04T05:06:07.000007Z",
        "2026-03-04T05:06:07.000008Z",
    ]
    assert [event.query_locale for event in one.events] == ["fr-CA", None]
    assert [event.boot_id for event in one.events] == [None, "before"]
    assert [event.monotonic_us for event in one.events] == [7, 8]
    assert one.boot_id == BOOT


async def test_rejected_event_is_refused_and_the_others_are_delivered(
    central: ScriptedCentral, batch: BatchTransport
) -> None:
    central.refuse("session-2", code="NO_SUCH_STORE", message="taken by x@y.com\x00")
    result = await batch.send(window(*sessions(1, 3)), probing=False)
    assert verdicts(result) == {
        1: Delivered(),
        2: Refused("NO_SUCH_STORE", "taken by (address) ", None),
        3: Delivered(),
    }


async def test_sequence_gap_returns_the_expected_sequence(batch: BatchTransport) -> None:
    await batch.send(window(*sessions(1, 2)), probing=False)
    result = await batch.send(window(*sessions(5, 6)), probing=False)
    assert (result.results, result.stop) == ([], Rewind(3))


@pytest.mark.parametrize("status", [404, 405])
async def test_missing_endpoint_is_no_sequence_gap(
    central: ScriptedCentral, batch: BatchTransport, status: int
) -> None:
    gap = {"statusCode": status, "errorMessage": "gap", "errorCode": "SEQUENCE_GAP"}
    answered = faults.respond_with(Answer.of(status, gap | {"expectedSequence": 1}))
    central.default_fault = lambda request: answered if request.path == BATCHES_PATH else None
    result = await batch.send(window(*sessions(5, 6)), probing=False)
    assert isinstance(result.stop, Blocked)
    assert result.stop.reason is BlockedReason.NOT_FOUND


async def test_accepted_through_below_the_batch_is_a_gap(
    central: ScriptedCentral, batch: BatchTransport
) -> None:
    central.script(faults.respond_with(Answer.of(200, {"acceptedThrough": 2, "rejected": []})))
    result = await batch.send(window(*sessions(5, 6)), probing=False)
    assert (result.results, result.stop) == ([], Rewind(3))


async def test_response_without_progress_is_a_failure(
    central: ScriptedCentral, batch: BatchTransport
) -> None:
    central.script(faults.respond_with(Answer.of(200, {"acceptedThrough": 4, "rejected": []})))
    result = await batch.send(window(*sessions(5, 6)), probing=False)
    assert isinstance(result.stop, RetryLater)
    assert result.stop.cause is FailureCause.NO_PROGRESS


async def test_rest_of_a_partly_accepted_batch_is_resent(
    central: ScriptedCentral, batch: BatchTransport
) -> None:
    central.script(faults.respond_with(Answer.of(200, {"acceptedThrough": 2, "rejected": []})))
    central.ledger.epochs.clear()
    result = await batch.send(window(*sessions(1, 4)), probing=False)
    assert [sorted(verdicts(result)), result.stop] == [[1, 2], Rewind(1)]
    assert sizes(central) == [4, 2]


async def test_altered_event_renumbers_after_the_last_common_sequence(
    batch: BatchTransport,
) -> None:
    await batch.send(window(*sessions(1, 4)), probing=False)
    others = [session(1), session(2), session(3, "other"), session(4, "another"), session(5)]
    result = await batch.send(window(*others), probing=False)
    assert (sorted(verdicts(result)), result.stop) == ([1, 2], Renumber(2))


async def test_dead_letters_below_accepted_through_are_retried(
    central: ScriptedCentral, batch: BatchTransport
) -> None:
    central.refuse("session-2")
    central.refuse("session-4")
    events = sessions(1, 9)
    await batch.send(window(*events), probing=False)
    central.accept_all()
    central.refuse("session-4")
    result = await batch.send(window(events[1], events[3]), probing=False)
    assert result.stop is None
    assert verdicts(result)[2] == Delivered()
    assert isinstance(verdicts(result)[4], Refused)
    result = await batch.send(window(events[1]), probing=False)
    assert verdicts(result) == {2: Delivered()}


async def test_resent_answer_with_erased_address_is_not_altered(batch: BatchTransport) -> None:
    first = session(1)
    email = answer(2, first)
    await batch.send(window(first, email), probing=False)
    body = b'{"emailAddress":null,"erased":true,"status":"accepted"}'
    erased = replace(email, body=body, is_erased=True)
    assert verdicts(await batch.send(window(erased), probing=False)) == {2: Delivered()}


class TestTooLarge:
    """Batches and events that exceed the body limit of head office or a proxy."""

    async def test_batch_too_large_is_bisected(
        self, central: ScriptedCentral, batch: BatchTransport
    ) -> None:
        central.max_body_bytes = 20_000
        events = [session(n, externalIdentifier=os.urandom(3_000).hex()) for n in range(1, 17)]
        result = await batch.send(window(*events), probing=False)
        assert set(verdicts(result).values()) == {Delivered()}
        assert len(central.ledger.records) == 16

    async def test_batch_size_shrinks_after_a_413_and_grows_slowly(
        self, central: ScriptedCentral, client: CentralClient
    ) -> None:
        transport = batch_transport(client, limits=BatchLimits(32, 1_000_000))
        central.script(faults.problem(413, "PAYLOAD_TOO_LARGE"))
        await transport.send(window(*sessions(1, 32)), probing=False)
        shrunk = transport.limits.events
        await transport.send(window(*sessions(33, 32 + shrunk)), probing=False)
        assert 16 < shrunk < transport.limits.events < 32

    async def test_single_event_too_large_is_refused_and_its_sequence_sent(
        self, central: ScriptedCentral, batch: BatchTransport
    ) -> None:
        central.max_body_bytes = 20_000
        events = sessions(1, 100)
        events[40] = session(41, externalIdentifier=os.urandom(40_000).hex())
        result = await batch.send(window(*events), probing=False)
        refused = verdicts(result).pop(41)
        assert isinstance(refused, Refused)
        assert (refused.error_code, refused.http_status) == ("PAYLOAD_TOO_LARGE", 413)
        assert len(central.ledger.records) == 99
        assert central.ledger.epochs[EPOCH].through == 100
        assert central.ledger.epochs[EPOCH].rejected[41].code == ErrorCode.UNKNOWN_TYPE
        assert batch.limits.events > 25

    async def test_withheld_event_is_accepted_later_with_its_content(
        self, central: ScriptedCentral, batch: BatchTransport
    ) -> None:
        central.max_body_bytes = 20_000
        large = session(1, externalIdentifier=os.urandom(40_000).hex())
        await batch.send(window(large), probing=False)
        central.max_body_bytes = None
        assert verdicts(await batch.send(window(large), probing=False)) == {1: Delivered()}
        assert [record.sequence for record in central.ledger.records] == [1]


class TestRefusedWhole:
    """A receiver or proxy that refuses a whole batch because of one event."""

    async def test_one_bad_event_does_not_block_the_batch(
        self, central: ScriptedCentral, batch: BatchTransport
    ) -> None:
        central.refuses_whole_batches = True
        central.refuse("session-313", code="BAD_RECORD")
        result = await batch.send(window(*sessions(1, 500)), probing=False)
        refused = verdicts(result).pop(313)
        assert isinstance(refused, Refused)
        assert (refused.error_code, refused.http_status) == ("BAD_RECORD", 422)
        assert (len(central.ledger.records), result.stop) == (499, None)
        assert len(central.requests) < 25

    async def test_agent_whose_every_request_is_refused_keeps_its_events(
        self, central: ScriptedCentral, batch: BatchTransport
    ) -> None:
        central.default_fault = lambda _: faults.problem(400, "INVALID_REQUEST")
        result = await batch.send(window(*sessions(1, 8)), probing=False)
        assert result.results == []
        assert isinstance(result.stop, Blocked)
        assert result.stop.reason is BlockedReason.UNKNOWN_PROTOCOL


@pytest.mark.parametrize("status", [401, 403, 404, 405, 415])
async def test_refused_caller_blocks(
    central: ScriptedCentral, batch: BatchTransport, status: int
) -> None:
    central.default_fault = lambda _: faults.gateway(status)
    result = await batch.send(window(*sessions(1, 3)), probing=False)
    assert result.results == []
    assert isinstance(result.stop, Blocked)
    assert result.stop.http_status == status


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (faults.captive_portal, FailureCause.UNEXPECTED_RESPONSE),
        (faults.redirected, FailureCause.UNEXPECTED_RESPONSE),
        (faults.html(400), FailureCause.UNEXPECTED_RESPONSE),
        (faults.html(402), FailureCause.UNEXPECTED_RESPONSE),
        (faults.html(409), FailureCause.UNEXPECTED_RESPONSE),
        (faults.gateway(422), FailureCause.UNEXPECTED_RESPONSE),
        (faults.problem(409, "CONFLICT"), FailureCause.UNEXPECTED_RESPONSE),
        (faults.respond_with(Answer.of(200, {"message": "ok"})), FailureCause.UNEXPECTED_RESPONSE),
        (
            faults.respond_with(Answer.of(200, {"acceptedThrough": -1, "rejected": []})),
            FailureCause.UNEXPECTED_RESPONSE,
        ),
        (
            faults.respond_with(Answer(200, b'{"acceptedThrough":3,"rejected":[]}')),
            FailureCause.UNEXPECTED_RESPONSE,
        ),
        (faults.respond_with(Answer(204)), FailureCause.UNEXPECTED_RESPONSE),
        (faults.cut_short, FailureCause.NO_RESPONSE),
        (faults.answer_lost, FailureCause.NO_RESPONSE),
        (faults.reset_after, FailureCause.NO_RESPONSE),
        (faults.reset_before, FailureCause.NO_RESPONSE),
        (faults.html(500), FailureCause.SERVER_ERROR),
        (faults.gateway(502), FailureCause.SERVER_ERROR),
        (faults.gateway(504), FailureCause.SERVER_ERROR),
        (faults.gateway(408), FailureCause.SERVER_ERROR),
        (faults.gateway(425), FailureCause.SERVER_ERROR),
        (faults.problem(503, "UNAVAILABLE"), FailureCause.OVERLOADED),
        (faults.gateway(429), FailureCause.OVERLOADED),
    ],
)
async def test_unexpected_response_settles_nothing(
    central: ScriptedCentral, batch: BatchTransport, fault: Fault, cause: FailureCause
) -> None:
    central.default_fault = lambda _: fault
    result = await batch.send(window(*sessions(1, 3)), probing=False)
    assert result.results == []
    assert isinstance(result.stop, RetryLater)
    assert result.stop.cause is cause


async def test_rejection_of_an_event_not_sent_is_invalid(
    central: ScriptedCentral, batch: BatchTransport
) -> None:
    strange = {"sequence": 9, "errorCode": "X", "errorMessage": "x"}
    answered = Answer.of(200, {"acceptedThrough": 9, "rejected": [strange]})
    central.script(faults.respond_with(answered))
    result = await batch.send(window(*sessions(1, 3)), probing=False)
    assert isinstance(result.stop, RetryLater)


async def test_endless_response_is_aborted(central: ScriptedCentral, batch: BatchTransport) -> None:
    central.script(
        faults.respond_with(Answer(200, b" " * 1_100_000, {"Content-Type": "application/json"}))
    )
    result = await batch.send(window(session(1)), probing=False)
    assert isinstance(result.stop, RetryLater)
    assert result.stop.cause is FailureCause.UNEXPECTED_RESPONSE


async def test_lost_response_is_retried_without_a_duplicate(
    central: ScriptedCentral, batch: BatchTransport, sleeps: RecordedSleeps
) -> None:
    central.script(faults.answer_lost)
    result = await batch.send(window(*sessions(1, 3)), probing=False)
    assert sorted(verdicts(result)) == [1, 2, 3]
    assert len(central.ledger.records) == 3
    assert len(sleeps.seconds) == 1


async def test_probe_is_sent_without_retries(
    central: ScriptedCentral, batch: BatchTransport
) -> None:
    central.default_fault = lambda _: faults.gateway(500)
    await batch.send(window(session(1)), probing=True)
    assert len(central.requests) == 1


async def test_refused_connection_means_head_office_is_down(
    central: ScriptedCentral, batch: BatchTransport
) -> None:
    await central.stop()
    result = await batch.send(window(session(1)), probing=False)
    assert isinstance(result.stop, RetryLater)
    assert result.stop.cause is FailureCause.CENTRAL_DOWN
    await central.start()
    assert sorted(verdicts(await batch.send(window(session(1)), probing=False))) == [1]
