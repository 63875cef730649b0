"""Whatever a body the agent answers with 200, head office takes it and keeps it as it came."""

import json
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.capture.email_answer import parse_email_answer
from agent.capture.refusals import Refusal
from agent.capture.session_start import parse_session_start
from agent.facts import EmailAnswered, EmailStatus
from agent.store.crypto.vault import Vault
from agent.store.outbox.payloads import PayloadBuilder
from sync.protocol.json_equality import json_equal
from sync.protocol.rfc3339 import us_to_rfc3339
from sync.protocol.wire import Batch, BatchEvent, EventType
from sync.receiver.auth.tokens import AgentName, EnrolledAgent
from sync.receiver.ingest.deduplication.equality import is_same_event
from sync.receiver.ingest.events import AnswerEvent, Event, SessionEvent
from sync.receiver.ingest.parse import parse_batch
from tests.support.head_office.messages import AT, BOOT, EPOCH
from tests.support.json_strategies import EMAIL_FIELDS, SESSION_FIELDS, texts, values

NAMES = [*SESSION_FIELDS, *EMAIL_FIELDS, "erased"]
VALUES = st.sampled_from(
    ["x", "fr-CA", "CLOSED", "accepted", "declined", "guest@example.com", " ", "\0", True, None]
)
# Pairs instead of a dictionary: a name may occur twice.
PAIRS = st.lists(st.tuples(st.sampled_from(NAMES) | texts, VALUES | values), max_size=8)
SENDER = EnrolledAgent(AgentName("0042", "till-1"), AT)
VAULT = Vault(b"k" * 32)


def spelled(pairs: list[tuple[str, object]]) -> bytes:
    members = ", ".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in pairs)
    return f" {{{members}}}\n".encode()


def at_head_office(kind: EventType, correlation_id: str, body: bytes, locale: str | None) -> Event:
    """Send one event as the agent does; return it as head office parses it."""
    sent = BatchEvent(
        sequence=1,
        type=kind,
        correlation_id=correlation_id,
        occurred_at=us_to_rfc3339(0),
        body=msgspec.Raw(body),
        query_locale=locale,
    )
    batch = Batch(
        store_id="0042",
        till_id="till-1",
        epoch=EPOCH,
        boot_id=BOOT,
        agent_version="1",
        sent_at=us_to_rfc3339(0),
        base_sequence=1,
        events=[sent],
    )
    return parse_batch(msgspec.json.encode(batch), SENDER, AT).events[0]


def answers_as_sent(answered: EmailAnswered) -> Iterator[Event]:
    """Yield the answer as it arrives, with its address and after its erasure."""
    address = answered.address
    encrypted = None if address is None else VAULT.encrypt(address, answered.correlation_id)
    for stored in (encrypted, None):
        body, _ = PayloadBuilder().build(
            answered.body, answered.correlation_id, answered.status, stored, lambda: VAULT
        )
        yield at_head_office(EventType.EMAIL_ANSWERED, answered.correlation_id, body, None)


def as_document(body: str | bytes) -> dict[str, object]:
    document = json.loads(body)
    assert isinstance(document, dict)
    return document


@given(pairs=PAIRS, correlation_id=st.sampled_from(["a", "é" * 128]))
@example(pairs=[("channel", 1), ("channel", "x")], correlation_id="a")
@example(pairs=[("channel", True), ("channel", None)], correlation_id="a")
def test_session_that_the_agent_takes_is_taken_and_kept(
    pairs: list[tuple[str, object]], correlation_id: str
) -> None:
    body = spelled([*pairs, ("correlationId", correlation_id)])
    try:
        started = parse_session_start(body, []).started
    except Refusal:
        return

    event = at_head_office(EventType.SESSION_STARTED, started.correlation_id, body, None)

    assert isinstance(event, SessionEvent), event
    assert event.body.encode() == body.strip()
    last = dict(pairs)
    kept = (event.channel, event.external_identifier, event.anonymous_session_id, event.user_status)
    names = ("channel", "externalIdentifier", "anonymousSessionId", "userStatus")
    assert kept == tuple(last.get(name) for name in names)


@given(
    pairs=PAIRS,
    answer=st.sampled_from(
        [
            [("status", "accepted"), ("emailAddress", "guest@example.com")],
            [("status", "declined")],
            [("emailAddress", " "), ("status", "deferred")],
        ]
    ),
    check_syntax=st.booleans(),
)
@example(
    pairs=[("erased", False)],
    answer=[("status", "accepted"), ("emailAddress", "a@b.ca")],
    check_syntax=True,
)
@example(
    pairs=[("erased", True)],
    answer=[("status", "accepted"), ("emailAddress", "a@b.ca")],
    check_syntax=True,
)
@example(pairs=[("erased", True)], answer=[("status", "declined")], check_syntax=True)
@example(pairs=[("status", 1)], answer=[("status", "declined")], check_syntax=True)
@example(
    pairs=[("emailAddress", 1)],
    answer=[("status", "accepted"), ("emailAddress", "a@b.ca")],
    check_syntax=True,
)
@example(pairs=[], answer=[("status", "accepted"), ("emailAddress", "x" * 400)], check_syntax=False)
def test_answer_that_the_agent_takes_is_taken_and_kept_also_after_its_erasure(
    pairs: list[tuple[str, object]],
    answer: list[tuple[str, object]],
    check_syntax: bool,  # noqa: FBT001 - drawn
) -> None:
    body = spelled([*pairs, *answer])
    try:
        answered = parse_email_answer("a", body, check_syntax=check_syntax)
    except Refusal:
        return

    arrived, resent = answers_as_sent(answered)

    assert isinstance(arrived, AnswerEvent), arrived
    assert isinstance(resent, AnswerEvent), resent
    assert (arrived.status, arrived.email_address) == (answered.status, answered.address)
    assert resent.address_erased == (answered.status is EmailStatus.ACCEPTED)
    assert json_equal(arrived.body.encode(), answered.body)
    assert is_same_event(resent, arrived)
    as_came = {name: value for name, value in as_document(body).items() if name != "emailAddress"}
    assert as_document(arrived.body) == as_came


@pytest.mark.parametrize("depth", [50, 400, 495, 550, 900])
@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_nested_body_that_the_agent_takes_does_not_refuse_its_batch(
    depth: int, brackets: str
) -> None:
    opening = "[" if brackets == "[]" else '{"a":'
    body = f'{{"correlationId":"a","x":{opening * depth}1{brackets[1] * depth}}}'.encode()
    try:
        started = parse_session_start(body, []).started
    except Refusal:
        assert depth > 495
        return

    assert depth < 550
    event = at_head_office(EventType.SESSION_STARTED, started.correlation_id, body, None)
    assert isinstance(event, SessionEvent)
