"""A false or broken head office: its responses harm neither the till nor the delivery."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from agent.capture.session_answer import SessionAnswers
from agent.store.learned_terms import LearnedTerms, keep_terms, read_terms
from agent.uplink.terms_sync import ProgramTermsSync
from sync.delivery.transports.batch.control_requests import fetch_terms, send_heartbeat
from sync.protocol.program_terms import SessionKind, published
from sync.protocol.wire import BATCHES_PATH, HEARTBEATS_PATH, PROGRAM_PATH
from sync.runtime.settings.program import ProgramSettings
from tests.flows.test_heartbeat import beats, heartbeat_of
from tests.support.agent.outbox import outbox_on
from tests.support.central import Answer, ScriptedCentral, faults
from tests.support.central.terms import PROGRAM
from tests.support.patience import PATIENCE_SECONDS
from tests.support.shop.shop import Shop, shop_at
from tests.support.transports import batch_transport, client_to, sessions, window
from tests.sync.delivery.transports.test_control_requests import HEARTBEAT

KIND = SessionKind(None, None, is_anonymous=False)
PROGRAM_JSON = json.loads(published(PROGRAM)[0])
RULES, MESSAGES = PROGRAM_JSON["rules"], PROGRAM_JSON["messages"]["en-CA"]
ESC, CSI, RLO = "\x1b@", "\x9b2J", "\u202egnp"


def rules(**changed: object) -> dict[str, object]:
    return {"rules": RULES | changed}


def messages(**changed: object) -> dict[str, object]:
    return {"messages": {"en-CA": MESSAGES | changed}}


BAD_TERMS = {
    "prompt": {"prompt": "A" * 900_000},
    "currency": {"currency": ESC},
    "messages.en-CA.prompt": messages(prompt="A" * 2_001),
    "messages.en-CA.anonymousPrompt": messages(anonymousPrompt=CSI),
    "messages.en-CA.receipt": messages(receipt=f"Join{RLO}"),
    "rules.minRedeemPoints": rules(minRedeemPoints=-1),
    "rules.maxRedeemAmount": rules(maxRedeemAmount=10**18),
    "rules.minRedeemAmount": rules(minRedeemAmount=RULES["maxRedeemAmount"] + 1),
    "rules.redeemIncrementPoints": rules(redeemIncrementPoints=1e300),
    "rules.redeemIncrementAmount": rules(redeemIncrementAmount="ten"),
    "locale": {"locale": "tlh"},
}


def text_of(answers: SessionAnswers) -> dict[str, object]:
    """Return the answer to a session start."""
    answer = json.loads(answers.answer("id", KIND))
    assert isinstance(answer, dict)
    return answer


async def answer_to(shop: Shop) -> dict[str, object]:
    answer = await shop.agent.start_session({"correlationId": str(uuid4())})
    return answer.members() | {"sessionCorrelationId": ""}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110 - polls what arrived over HTTP
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("field", BAD_TERMS)
async def test_unusable_terms_keep_the_previous_terms_and_name_the_field(
    tmp_path: Path, field: str, caplog: pytest.LogCaptureFixture
) -> None:
    sent = PROGRAM_JSON | BAD_TERMS[field]
    async with ScriptedCentral() as central:
        central.default_fault = lambda request: (
            faults.respond_with(Answer.of(200, sent)) if request.path == PROGRAM_PATH else None
        )
        with caplog.at_level(logging.INFO):
            async with shop_at(tmp_path, central.url, "batch") as shop:
                before = await answer_to(shop)
                await until(lambda: "terms.refused" in caplog.messages)
                assert await answer_to(shop) == before
                refused = (await shop.status())["termsRefused"]
                page = (await shop.agent.get("/")).body.decode()
    assert isinstance(refused, dict)
    assert refused["field"] == field
    assert field in page
    assert not [one for one in (str(refused), page, caplog.text) if "AAA" in one or "\x1b" in one]


async def test_refused_terms_are_logged_once_and_reported_in_each_heartbeat_until_fixed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with ScriptedCentral() as central, outbox_on(tmp_path) as rig:
        answers = SessionAnswers(ProgramSettings().terms())
        terms = ProgramTermsSync(answers, rig.outbox.access, rig.clock)
        central.program = msgspec.structs.replace(PROGRAM, prompt=ESC)
        await terms.restore_when_open()
        async with client_to(central.url) as client:
            with caplog.at_level(logging.INFO):
                for _ in range(3):
                    await terms.on_fetched(await fetch_terms(client, terms.known_etag))
            assert terms.refused is not None
            assert caplog.messages.count("terms.refused") == 1
            central.program = PROGRAM
            await terms.on_fetched(await fetch_terms(client, terms.known_etag))
            assert terms.refused is None
            assert text_of(answers)["prompt"] == PROGRAM.prompt


async def test_refused_terms_that_head_office_takes_back_are_no_longer_reported(
    tmp_path: Path,
) -> None:
    """Head office answers 304: its terms are again those in use here."""
    async with ScriptedCentral() as central, outbox_on(tmp_path) as rig:
        answers = SessionAnswers(ProgramSettings().terms())
        terms = ProgramTermsSync(answers, rig.outbox.access, rig.clock)
        await terms.restore_when_open()
        async with client_to(central.url) as client:
            for program in (PROGRAM, msgspec.structs.replace(PROGRAM, prompt=ESC), PROGRAM):
                central.program = program
                await terms.on_fetched(await fetch_terms(client, terms.known_etag))
        assert terms.refused is None


async def test_heartbeat_names_the_refused_terms(tmp_path: Path) -> None:
    async with ScriptedCentral() as central, outbox_on(tmp_path) as rig:
        central.program = msgspec.structs.replace(PROGRAM, prompt=ESC)
        async with heartbeat_of(rig, central) as heartbeat:
            await beats(central, heartbeat, 3)
    assert central.heartbeats[0].terms_refused is None
    assert central.heartbeats[2].terms_refused == "prompt: contains a control character"


async def with_escape(serve: faults.Serve) -> Answer | faults.Lost:
    """Answer a session with a receipt text that a printer would obey."""
    answer = await serve()
    document = json.loads(answer.body)
    if "receiptMessage" not in document:
        return answer
    return Answer.of(200, document | {"receiptMessage": f"Join{ESC}"})


async def test_replayed_session_with_unusable_terms_is_delivered_and_its_terms_are_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with ScriptedCentral() as central:
        central.default_fault = lambda _: with_escape
        with caplog.at_level(logging.INFO):
            async with shop_at(tmp_path, central.url, "replay") as shop:
                before = await answer_to(shop)
                await shop.delivered()
                await answer_to(shop)
                await shop.delivered()
                assert await answer_to(shop) == before
                refused = (await shop.status())["termsRefused"]
    assert isinstance(refused, dict)
    assert refused["field"] == "receiptMessage"
    assert caplog.messages.count("terms.refused") == 1


async def test_unusable_terms_stored_by_an_earlier_version_are_not_used(tmp_path: Path) -> None:
    stored = msgspec.structs.replace(PROGRAM, prompt=ESC)
    learned = LearnedTerms("program", msgspec.json.encode(stored).decode(), '"old"')
    async with outbox_on(tmp_path) as rig:
        await rig.outbox.access.write(lambda session: keep_terms(session, learned, 1))
        answers = SessionAnswers(ProgramSettings().terms())
        terms = ProgramTermsSync(answers, rig.outbox.access, rig.clock)
        await terms.restore_when_open()
        # With the ETag of terms that are not in use, head office would answer 304 for ever.
        assert terms.known_etag is None
    assert text_of(answers)["prompt"] == ProgramSettings().prompt


ODD_HEADERS = {
    "an ETag that is no UTF-8": b'ETag: "\xff\xfe"',
    "an ETag with quotes missing": b"ETag: abc",
    "an ETag of 7,000 bytes": b'ETag: "' + b"a" * 7_000 + b'"',
    "two ETags": b'ETag: "a"\r\nETag: "b"',
    "an ETag with a tab": b'ETag: "a\tb"',
    "an ETag with a terminal's escape": b'ETag: "\x1b[2J"',
    "an ETag with NUL": b'ETag: "\x00"',
    "latin-1": b"Server: caf\xe9",
    "a Retry-After that is no number": b"Retry-After: \xff\xfe",
    "a Retry-After of all digits there are": b"Retry-After: " + b"9" * 7_000,
    "a Date that is none": b"Date: \xff, 99 Foo 99999 99:99:99 GMT",
    "a Retry-After in the year 99999": b"Retry-After: Mon, 99 Jan 99999 99:99:99 +9999",
    "an unknown Content-Encoding": b"Content-Encoding: rot13",
    "a Content-Encoding that is a lie": b"Content-Encoding: gzip",
    "a Content-Type of foreign bytes": b"Content-Type: \xff/\xfe",
    "a charset that does not exist": b"Content-Type: application/json; charset=\xff",
    "a cookie": b"Set-Cookie: a=\xff; Path=/",
    "a Location": b"Location: http://\xff/",
    "5,000 headers": b"\r\n".join(b"X-%d: y" % number for number in range(5_000)),
    "a header of 60,000 bytes": b"X: " + b"y" * 60_000,
    "a header without a name": b": x",
    "a folded header": b"X: a\r\n b",
    "Transfer-Encoding twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "a bearer challenge": b"WWW-Authenticate: Bearer \xff",
}
STATUSES = {
    b"200 OK": published(PROGRAM)[0],
    b"503 \xff\xfe": b"",
    b"304 Not Modified": b"",
    b"401 Unauthorized": b"",
}


@asynccontextmanager
async def answering(status: bytes, header: bytes, body: bytes) -> AsyncIterator[str]:
    """Answer every request with these bytes; yield the URL."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                await reader.readexactly(int(line.split(b":")[1]))
        kind = b"" if b"ontent-Type" in header else b"Content-Type: application/json\r\n"
        size = b"Content-Length: %d\r\n" % len(body)
        writer.write(b"HTTP/1.1 " + status + b"\r\n" + kind + size + header + b"\r\n\r\n" + body)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("name", ODD_HEADERS)
async def test_odd_header_harms_neither_delivery_nor_program_terms(
    tmp_path: Path, name: str
) -> None:
    async with outbox_on(tmp_path) as rig:
        terms = ProgramTermsSync(
            SessionAnswers(ProgramSettings().terms()), rig.outbox.access, rig.clock
        )
        await terms.restore_when_open()
        for status, body in STATUSES.items():
            async with answering(status, ODD_HEADERS[name], body) as url, client_to(url) as client:
                for _ in range(2):
                    await terms.on_fetched(await fetch_terms(client, terms.known_etag))
                result = await batch_transport(client).send(window(*sessions(1, 3)), probing=False)
                assert result.results == []
                await send_heartbeat(client, HEARTBEAT)
        stored = await rig.outbox.access.read(read_terms)
    etag = next((one.etag for one in stored if one.source == "program"), None)
    assert etag is None or (etag.isascii() and etag.isprintable() and len(etag) <= 256)


LARGEST = 2**63 - 1
GAP = {"statusCode": 409, "errorMessage": "no", "errorCode": "SEQUENCE_GAP"}


@pytest.mark.parametrize("number", [LARGEST, LARGEST + 1, 2**64])
async def test_impossible_numbers_in_an_answer_leave_the_agent_delivering(
    tmp_path: Path, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with ScriptedCentral() as central:

        async def lie(serve: faults.Serve) -> Answer | faults.Lost:
            epoch = json.loads((await serve()).body)["epochs"][0]["epoch"]
            reached = [{"epoch": epoch, "acceptedThrough": 0}]
            rejected = [{"epoch": epoch, "sequence": number}]
            return Answer.of(200, {"epochs": reached, "rejected": rejected})

        central.default_fault = lambda one: lie if one.path == HEARTBEATS_PATH else None
        central.script(
            faults.respond_with(Answer.of(409, GAP | {"expectedSequence": number})), on=BATCHES_PATH
        )
        with caplog.at_level(logging.INFO):
            async with shop_at(tmp_path, central.url, "batch") as shop:
                await answer_to(shop)
                await shop.delivered()
    assert not {"heartbeat.failed", "delivery.failed"} & set(caplog.messages)
