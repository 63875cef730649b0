"""Request bodies of both calls: strict JSON, any Content-Type, two encodings, 16 KiB."""

import gzip
import json
import zlib

import pytest

from agent.api import request_body as bodies
from tests.support.agent.in_process import SESSIONS, Agent, email_path

NOT_AN_OBJECT = (
    b'{"statusCode":400,"errorMessage":"Request body must be a JSON object",'
    b'"errorCode":"INVALID_REQUEST"}'
)
MAX_BYTES = 16 * 1024
SESSION = b'{"correlationId":"x"}'
POST = f"POST {SESSIONS} HTTP/1.1\r\nHost: localhost\r\n".encode()
GZIPPED = gzip.compress(SESSION, mtime=0)


async def send(agent: Agent, call: str, body: bytes, headers: dict[str, str]) -> int:
    method, path = ("POST", SESSIONS) if call == "session" else ("PUT", email_path("known"))
    answer = await agent.request(method, path, body, headers)
    if answer.status == 400:
        assert answer.body == NOT_AN_OBJECT
    return answer.status


BOTH_CALLS = pytest.mark.parametrize("call", ["session", "email"])


@BOTH_CALLS
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"null",
        b"true",
        b"7",
        b'"text"',
        b"[]",
        b"{",
        b"}",
        b"{}}",
        b"{} {}",
        b"{}x",
        b"{}\x00",
        b"{'correlationId':'x'}",
        b"{correlationId:1}",
        b'{"a":1,}',
        b'{"a" 1}',
        b'{"a":}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":01}',
        b'{"a":+1}',
        b'{"a":.5}',
        b'{"a":1.}',
        b'{"a":1e}',
        b'{"a":0x1}',
        b'{"a":True}',
        b'{"a":undefined}',
        b'{"a":1/*note*/}',
        b'{"a":"\n"}',
        b'{"a":"\x00"}',
        b'{"a":"\\x41"}',
        b'{"a":"\\u12"}',
        b'{"a":"unfinished}',
        b'{"a":"\\ud800"}',
        b'{"a":"\\udc00\\ud800"}',
        b'{"a":"\xff"}',
        b'{"a":"\xc3"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\xc0\xaf"}',
        b'{"\xff":1}',
        b'\xef\xbb\xbf\xef\xbb\xbf{"a":1}',
        b"\xef\xbb\xbf",
        '{"a":1}'.encode("utf-16"),
        '{"a":"é"}'.encode("latin-1"),
        b"correlationId=x&channel=STORE",
        b"[" * MAX_BYTES,
        b'{"a":' * (MAX_BYTES // 5),
    ],
)
async def test_body_that_is_not_a_json_object_is_refused(
    shared_agent: Agent, call: str, body: bytes
) -> None:
    assert await send(shared_agent, call, body, {}) == 400


@pytest.mark.parametrize(
    "body",
    [
        b' \t\r\n{"correlationId"\n:\t"x"\r}\n',
        b'{"correlationId":"\\ud83d\\ude00"}',
        b'{"correlationId":"\\u002f\\/"}',
        b'{"correlationId":"x","a":-0.0e-00,"b":1E+2,"c":[],"d":{},"e":"","":""}',
        b'{"correlationId":"x","a":123456789012345678901234567890}',
        b'{"correlationId":"x","a":0.1000000000000000055511151231257827}',
    ],
)
async def test_any_spelling_of_json_is_accepted(agent: Agent, body: bytes) -> None:
    assert await send(agent, "session", body, {}) == 200


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/json; charset=latin-1",
        "application/json; charset=no-such",
        "nonsense",
        "a/b/c;;=",
    ],
)
async def test_content_type_is_ignored(agent: Agent, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    body = '{"correlationId":"é"}'.encode()

    assert await send(agent, "session", body, headers) == 200
    assert agent.bodies() == [body]


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", GZIPPED),
        ("GZIP", GZIPPED),
        (" gzip ", GZIPPED),
        ("x-gzip", GZIPPED),
        ("deflate", zlib.compress(SESSION)),
        ("identity", SESSION),
        ("", SESSION),
    ],
)
async def test_compressed_body_is_stored_decompressed(
    agent: Agent, encoding: str, body: bytes
) -> None:
    assert await send(agent, "session", body, {"Content-Encoding": encoding}) == 200
    assert agent.bodies() == [SESSION]


@BOTH_CALLS
@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, gzip", "gzip, br", "x"])
async def test_unknown_encoding_is_refused_with_415(
    shared_agent: Agent, call: str, encoding: str
) -> None:
    method, path = ("POST", SESSIONS) if call == "session" else ("PUT", email_path("x"))

    answer = await shared_agent.request(method, path, SESSION, {"Content-Encoding": encoding})

    assert (answer.status, answer.members()["errorCode"]) == (415, "UNSUPPORTED_MEDIA_TYPE")


@BOTH_CALLS
@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", SESSION),
        ("gzip", b""),
        ("gzip", GZIPPED[:-4]),
        ("gzip", GZIPPED + b"more"),
        ("gzip", zlib.compress(SESSION)),
        ("gzip", gzip.compress(b"[]", mtime=0)),
        ("deflate", b"\x00\x01"),
        ("deflate", zlib.compress(SESSION)[:-1]),
    ],
)
async def test_body_that_cannot_be_decompressed_is_refused(
    shared_agent: Agent, call: str, encoding: str, body: bytes
) -> None:
    assert await send(shared_agent, call, body, {"Content-Encoding": encoding}) == 400


def of_size(size: int) -> bytes:
    start = b'{"correlationId":"x","filling":"'
    return start + b"y" * (size - len(start) - 2) + b'"}'


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
@pytest.mark.parametrize(("size", "status"), [(MAX_BYTES, 200), (MAX_BYTES + 1, 413)])
async def test_body_may_have_16_kib_and_not_one_byte_more(
    agent: Agent, encoding: str, size: int, status: int
) -> None:
    body = of_size(size) if encoding == "identity" else gzip.compress(of_size(size))

    assert await send(agent, "session", body, {"Content-Encoding": encoding}) == status


@BOTH_CALLS
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_decompression_bomb_is_refused_with_413(
    shared_agent: Agent, call: str, encoding: str
) -> None:
    bomb = b" " * 10_000_000
    body = gzip.compress(bomb) if encoding == "gzip" else zlib.compress(bomb)
    assert len(body) < MAX_BYTES

    assert await send(shared_agent, call, body, {"Content-Encoding": encoding}) == 413


DEPTHS = [1, 100, 490, 499, 500, *range(900, 1100, 25), 2000, 4000, 8000]


@pytest.mark.parametrize("depth", DEPTHS)
async def test_deep_nesting_is_accepted_or_refused_but_never_500(agent: Agent, depth: int) -> None:
    await agent.start_session({"correlationId": "known"})
    nested = b"[" * depth + b"]" * depth
    objects = b'{"a":' * (depth // 4) + b"1" + b"}" * (depth // 4)
    answers = []
    for deep in (nested, objects):
        session = b'{"correlationId":"' + str(len(deep)).encode() + b'","deep":' + deep + b"}"
        email = b'{"status":"accepted","emailAddress":"a@example.com","deep":' + deep + b"}"
        respelled = session.replace(b'"deep":', b'"deep": ')
        answers += [await agent.start_session(body) for body in (session, session, respelled)]
        emails = (email, email.replace(b'"deep":', b'"deep": '), b'{"status":' + deep + b"}", deep)
        answers += [await agent.set_email("known", body) for body in emails]

    assert {answer.status for answer in answers} <= {200, 400}


@pytest.mark.parametrize("depth", [100, 400, 495])
async def test_deeply_nested_body_in_another_spelling_is_a_duplicate(
    agent: Agent, depth: int
) -> None:
    body = b'{"correlationId":"x","deep":' + b"[" * depth + b"]" * depth + b"}"

    first = await agent.start_session(body)
    again = await agent.start_session(body.replace(b'"deep":', b'"deep": '))

    assert (first.status, again.status, again.receipt) == (200, 200, first.receipt)


@pytest.mark.parametrize("depth", [500, 975, 1000])
async def test_accepted_nested_body_is_a_duplicate_when_repeated(agent: Agent, depth: int) -> None:
    """A comparison with a lower depth limit than the parser must not refuse a retry."""
    deep = b',"deep":' + b"[" * depth + b"]" * depth + b"}"
    session = b'{"correlationId":"x"' + deep
    email = b'{"status":"accepted","emailAddress":"a@example.com"' + deep

    sessions = [await agent.start_session(session) for _ in range(2)]
    await agent.start_session({"correlationId": "x"})
    emails = [await agent.set_email("x", email) for _ in range(2)]

    for first, again in (sessions, emails):
        assert (again.status, again.receipt) == (first.status, first.receipt)


async def test_huge_numbers_are_accepted_or_refused_but_never_500(agent: Agent) -> None:
    numbers = [
        "0e99999999999999999999",
        "1.0e-99999999999999999999",
        "1e-9999999999999",
        "1e400",
        "-1e308",
        "9" * 400,
        "9" * 5000,
        "0." + "3" * 5000,
    ]
    for number in numbers:
        session = f'{{"correlationId":"{number[:100]}","n":{number}}}'.encode()
        email = f'{{"status":{number}}}'.encode()
        for body in (session, session, session.replace(b'"n":', b'"n": ')):
            assert (await agent.start_session(body)).status in {200, 400}
        assert (await agent.set_email("x", email)).status == 400


async def test_chunked_body_is_accepted(agent: Agent) -> None:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in (b'{"correlationId"', b":", b'"x"}'))

    [answer] = await agent.send_raw(
        POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    )

    assert (answer.status, agent.bodies()) == (200, [SESSION])


async def test_chunked_body_over_16_kib_is_refused_before_its_end(agent: Agent) -> None:
    endless = b"4000\r\n" + b" " * 0x4000 + b"\r\n"

    [answer] = await agent.send_raw(POST + b"Transfer-Encoding: chunked\r\n\r\n" + endless * 2)

    assert (answer.status, answer.members()["errorCode"]) == (413, "PAYLOAD_TOO_LARGE")


async def test_disconnect_within_the_body_records_nothing(agent: Agent) -> None:
    await agent.send_raw(POST + b"Content-Length: 21\r\n\r\n" + SESSION[:-1], answers=0)
    after = await agent.start_session({"correlationId": "after"})

    assert after.status == 200
    assert [json.loads(body) for body in agent.bodies()] == [{"correlationId": "after"}]


async def test_missing_body_times_out(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_TIMEOUT_SECONDS", 0.01)
    [answer] = await agent.send_raw(POST + b"Content-Length: 21\r\n\r\n" + b"{")

    assert (answer.status, answer.members()["errorCode"]) == (408, "INVALID_REQUEST")
    assert answer.header("Connection") == "close"
