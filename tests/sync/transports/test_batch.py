"""The protocol `batch`: what becomes of a window."""

import os
from dataclasses import replace

import pytest

from sync.delivery.outbox import Portion
from sync.delivery.outcomes import (
    Delivered,
    GoBack,
    Hold,
    HoldReason,
    Refused,
    Renumber,
    Trouble,
    TryLater,
)
from sync.delivery.transports.batch.transport import BatchTransport
from sync.delivery.transports.client import Caller
from sync.protocol.wire import BATCHES_PATH, Batch, ErrorCode
from tests.central import Answer, Fault, ScriptedCentral, faults
from tests.central.batches import read_batch
from tests.sync.transports.parts import (
    BOOT,
    EPOCH,
    Naps,
    answer,
    batch_transport,
    session,
    sessions,
    verdicts,
    window,
)


def sent(central: ScriptedCentral) -> list[Batch]:
    """The batches that came."""
    return [read_batch(r.body, r.encoding) for r in central.requests if r.path == BATCHES_PATH]


def sizes(central: ScriptedCentral) -> list[int]:
    return [len(batch.events) for batch in sent(central)]


async def test_a_window_arrives_once_and_in_order(
    central: ScriptedCentral, batch: BatchTransport
) -> None:
    first = session(1)
    events = [first, session(2), answer(3, first)]
    delivery = await batch.deliver(window(*events), probing=False)
    assert verdicts(delivery) == {1: Delivered(), 2: Delivered(), 3: Delivered()}
    assert (delivery.stop, delivery.left) == (None, None)
    assert [record.body for record in central.ledger.records] == [e.body for e in events]


async def test_a_batch_says_who_when_and_from_where_on(
    central: ScriptedCentral, batch: BatchTransport
) -> None:
    events = [replace(session(7), query_locale="fr-CA"), replace(session(8), boot_id="before")]
    await batch.deliver(window(*events, base_sequence=7), probing=False)
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


async def test_a_rejected_record_is_refused_and_the_others_stand(
    central: ScriptedCentral, batch: BatchTransport
) -> None:
    central.refuse("session-2", code="NO_SUCH_STORE", message="taken by x@y.com\x00")
    delivery = await batch.deliver(window(*sessions(1, 3)), probing=False)
    assert verdicts(delivery) == {
        1: Delivered(),
        2: Refused("NO_SUCH_STORE", "taken by (address) ", None),
        3: Delivered(),
    }


async def test_after_a_gap_it_goes_back_to_what_head_office_expects(
    batch: BatchTransport,
) -> None:
    await batch.deliver(window(*sessions(1, 2)), probing=False)
    delivery = await batch.deliver(window(*sessions(5, 6)), probing=False)
    assert (delivery.judged, delivery.stop) == ([], GoBack(3))


async def test_a_200_that_is_behind_what_was_sent_is_a_gap_as_well(
    central: ScriptedCentral, batch: BatchTransport
) -> None:
    central.then(faults.says(Answer.of(200, {"acceptedThrough": 2, "rejected": []})))
    delivery = await batch.deliver(window(*sessions(5, 6)), probing=False)
    assert (delivery.judged, delivery.stop) == ([], GoBack(3))


async def test_nothing_taken_and_nothing_missing_is_no_progress(
    central: ScriptedCentral, batch: BatchTransport
) -> None:
    central.then(faults.says(Answer.of(200, {"acceptedThrough": 4, "rejected": []})))
    delivery = await batch.deliver(window(*sessions(5, 6)), probing=False)
    assert isinstance(delivery.stop, TryLater)
    assert delivery.stop.trouble is Trouble.NO_PROGRESS


async def test_where_a_part_was_taken_the_rest_is_sent_again(
    central: ScriptedCentral, batch: BatchTransport
) -> None:
    central.then(faults.says(Answer.of(200, {"acceptedThrough": 2, "rejected": []})))
    central.ledger.epochs.clear()
    delivery = await batch.deliver(window(*sessions(1, 4)), probing=False)
    assert [sorted(verdicts(delivery)), delivery.stop] == [[1, 2], GoBack(1)]
    assert sizes(central) == [4, 2]


async def test_numbers_known_with_other_content_begin_a_new_epoch_after_the_last_alike(
    batch: BatchTransport,
) -> None:
    await batch.deliver(window(*sessions(1, 4)), probing=False)
    others = [session(1), session(2), session(3, "other"), session(4, "another"), session(5)]
    delivery = await batch.deliver(window(*others), probing=False)
    assert (sorted(verdicts(delivery)), delivery.stop) == ([1, 2], Renumber(2))


async def test_dead_letters_far_below_what_was_accepted_are_tried_again(
    central: ScriptedCentral, batch: BatchTransport
) -> None:
    central.refuse("session-2")
    central.refuse("session-4")
    events = sessions(1, 9)
    await batch.deliver(window(*events), probing=False)
    central.relent()
    central.refuse("session-4")
    delivery = await batch.deliver(window(events[1], events[3]), probing=False)
    assert delivery.stop is None
    assert verdicts(delivery)[2] == Delivered()
    assert isinstance(verdicts(delivery)[4], Refused)
    delivery = await batch.deliver(window(events[1]), probing=False)
    assert verdicts(delivery) == {2: Delivered()}


async def test_an_erased_answer_sent_again_is_no_other_content(batch: BatchTransport) -> None:
    first = session(1)
    told = answer(2, first)
    await batch.deliver(window(first, told), probing=False)
    body = b'{"emailAddress":null,"erased":true,"status":"accepted"}'
    erased = replace(told, body=body, is_erased=True)
    assert verdicts(await batch.deliver(window(erased), probing=False)) == {2: Delivered()}


class TestTooLarge:
    """What is too large for head office, or for something on the way."""

    async def test_a_batch_that_is_too_large_is_halved_until_it_goes(
        self, central: ScriptedCentral, batch: BatchTransport
    ) -> None:
        central.max_body_bytes = 20_000
        events = [session(n, externalIdentifier=os.urandom(3_000).hex()) for n in range(1, 17)]
        delivery = await batch.deliver(window(*events), probing=False)
        assert set(verdicts(delivery).values()) == {Delivered()}
        assert len(central.ledger.records) == 16

    async def test_the_next_windows_are_smaller_and_then_slowly_grow(
        self, central: ScriptedCentral, caller: Caller
    ) -> None:
        transport = batch_transport(caller, portion=Portion(32, 1_000_000))
        central.then(faults.problem(413, "PAYLOAD_TOO_LARGE"))
        await transport.deliver(window(*sessions(1, 32)), probing=False)
        shrunk = transport.portion.events
        await transport.deliver(window(*sessions(33, 32 + shrunk)), probing=False)
        assert 16 < shrunk < transport.portion.events < 32

    async def test_a_single_event_too_large_is_set_aside_and_its_number_is_known(
        self, central: ScriptedCentral, batch: BatchTransport
    ) -> None:
        central.max_body_bytes = 20_000
        events = sessions(1, 100)
        events[40] = session(41, externalIdentifier=os.urandom(40_000).hex())
        delivery = await batch.deliver(window(*events), probing=False)
        refused = verdicts(delivery).pop(41)
        assert isinstance(refused, Refused)
        assert (refused.error_code, refused.http_status) == ("PAYLOAD_TOO_LARGE", 413)
        assert len(central.ledger.records) == 99
        assert central.ledger.epochs[EPOCH].through == 100
        assert central.ledger.epochs[EPOCH].rejected[41].code == ErrorCode.UNKNOWN_TYPE
        assert batch.portion.events > 25

    async def test_a_number_that_was_withheld_is_taken_once_it_fits(
        self, central: ScriptedCentral, batch: BatchTransport
    ) -> None:
        central.max_body_bytes = 20_000
        large = session(1, externalIdentifier=os.urandom(40_000).hex())
        await batch.deliver(window(large), probing=False)
        central.max_body_bytes = None
        assert verdicts(await batch.deliver(window(large), probing=False)) == {1: Delivered()}
        assert [record.sequence for record in central.ledger.records] == [1]


class TestRefusedWhole:
    """A receiver, or something before it, that refuses a whole batch for one record."""

    async def test_one_bad_record_among_many_never_blocks_the_others(
        self, central: ScriptedCentral, batch: BatchTransport
    ) -> None:
        central.refuses_whole_batches = True
        central.refuse("session-313", code="BAD_RECORD")
        delivery = await batch.deliver(window(*sessions(1, 500)), probing=False)
        refused = verdicts(delivery).pop(313)
        assert isinstance(refused, Refused)
        assert (refused.error_code, refused.http_status) == ("BAD_RECORD", 422)
        assert (len(central.ledger.records), delivery.stop) == (499, None)
        assert len(central.requests) < 25

    async def test_an_agent_that_is_refused_whatever_it_sends_loses_no_record(
        self, central: ScriptedCentral, batch: BatchTransport
    ) -> None:
        central.weather = lambda _: faults.problem(400, "INVALID_REQUEST")
        delivery = await batch.deliver(window(*sessions(1, 8)), probing=False)
        assert delivery.judged == []
        assert isinstance(delivery.stop, Hold)
        assert delivery.stop.reason is HoldReason.UNKNOWN_PROTOCOL


@pytest.mark.parametrize("status", [401, 403, 404, 405, 415])
async def test_a_refused_caller_holds_the_queue(
    central: ScriptedCentral, batch: BatchTransport, status: int
) -> None:
    central.weather = lambda _: faults.gateway(status)
    delivery = await batch.deliver(window(*sessions(1, 3)), probing=False)
    assert delivery.judged == []
    assert isinstance(delivery.stop, Hold)
    assert delivery.stop.http_status == status


@pytest.mark.parametrize(
    ("fault", "trouble"),
    [
        (faults.captive_portal, Trouble.NOT_CENTRAL),
        (faults.redirected, Trouble.NOT_CENTRAL),
        (faults.html(400), Trouble.NOT_CENTRAL),
        (faults.html(402), Trouble.NOT_CENTRAL),
        (faults.html(409), Trouble.NOT_CENTRAL),
        (faults.gateway(422), Trouble.NOT_CENTRAL),
        (faults.problem(409, "CONFLICT"), Trouble.NOT_CENTRAL),
        (faults.says(Answer.of(200, {"message": "ok"})), Trouble.NOT_CENTRAL),
        (faults.says(Answer.of(200, {"acceptedThrough": -1, "rejected": []})), Trouble.NOT_CENTRAL),
        (faults.says(Answer(200, b'{"acceptedThrough":3,"rejected":[]}')), Trouble.NOT_CENTRAL),
        (faults.says(Answer(204)), Trouble.NOT_CENTRAL),
        (faults.cut_short, Trouble.NO_ANSWER),
        (faults.answer_lost, Trouble.NO_ANSWER),
        (faults.reset_after, Trouble.NO_ANSWER),
        (faults.reset_before, Trouble.NO_ANSWER),
        (faults.html(500), Trouble.FAILED),
        (faults.gateway(502), Trouble.FAILED),
        (faults.gateway(504), Trouble.FAILED),
        (faults.gateway(408), Trouble.FAILED),
        (faults.gateway(425), Trouble.FAILED),
        (faults.problem(503, "UNAVAILABLE"), Trouble.BUSY),
        (faults.gateway(429), Trouble.BUSY),
    ],
)
async def test_whatever_else_comes_settles_nothing(
    central: ScriptedCentral, batch: BatchTransport, fault: Fault, trouble: Trouble
) -> None:
    central.weather = lambda _: fault
    delivery = await batch.deliver(window(*sessions(1, 3)), probing=False)
    assert delivery.judged == []
    assert isinstance(delivery.stop, TryLater)
    assert delivery.stop.trouble is trouble


async def test_a_rejection_of_what_was_not_sent_is_not_believed(
    central: ScriptedCentral, batch: BatchTransport
) -> None:
    strange = {"sequence": 9, "errorCode": "X", "errorMessage": "x"}
    answered = Answer.of(200, {"acceptedThrough": 9, "rejected": [strange]})
    central.then(faults.says(answered))
    delivery = await batch.deliver(window(*sessions(1, 3)), probing=False)
    assert isinstance(delivery.stop, TryLater)


async def test_an_answer_without_an_end_is_not_read_to_the_end(
    central: ScriptedCentral, batch: BatchTransport
) -> None:
    central.then(faults.says(Answer(200, b" " * 1_100_000, {"Content-Type": "application/json"})))
    delivery = await batch.deliver(window(session(1)), probing=False)
    assert isinstance(delivery.stop, TryLater)
    assert delivery.stop.trouble is Trouble.NOT_CENTRAL


async def test_a_lost_answer_is_asked_for_again_in_the_same_pass_and_has_no_second_effect(
    central: ScriptedCentral, batch: BatchTransport, naps: Naps
) -> None:
    central.then(faults.answer_lost)
    delivery = await batch.deliver(window(*sessions(1, 3)), probing=False)
    assert sorted(verdicts(delivery)) == [1, 2, 3]
    assert len(central.ledger.records) == 3
    assert len(naps.seconds) == 1


async def test_a_probe_is_tried_once(central: ScriptedCentral, batch: BatchTransport) -> None:
    central.weather = lambda _: faults.gateway(500)
    await batch.deliver(window(session(1)), probing=True)
    assert len(central.requests) == 1


async def test_refused_connection_has_brought_nothing_to_head_office(
    central: ScriptedCentral, batch: BatchTransport
) -> None:
    await central.stop()
    delivery = await batch.deliver(window(session(1)), probing=False)
    assert isinstance(delivery.stop, TryLater)
    assert delivery.stop.trouble is Trouble.AWAY
    await central.start()
    assert sorted(verdicts(await batch.deliver(window(session(1)), probing=False))) == [1]
