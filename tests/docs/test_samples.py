"""The samples of `docs/samples` sell against the real agent, in each language of this machine.

Between sample and agent is a proxy that notes the requests, and loses or withholds answers.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest
from aiohttp import web
from pytest_aiohttp import AiohttpServer

from tests.support.agent.in_process import Agent, agent_under_test, settings_in
from tests.support.patience import PATIENCE_SECONDS
from tests.support.processes import ROOT

pytestmark = [pytest.mark.process, pytest.mark.slow]
SAMPLES = ROOT / "docs" / "samples"
MAX_LINES = 60
MONO_LIBRARIES = (
    "System.Net.Http,System.Core,System.Xml,System.Xml.Linq,System.Runtime.Serialization"
)


class Language(NamedTuple):
    """The commands that build and run a sample; `{out}` is a file in a scratch directory."""

    sample: str
    run: tuple[str, ...]
    debian: str
    build: tuple[str, ...] = ()


LANGUAGES = {
    "python": Language("till.py", ("python3", "{sample}"), "python3"),
    "javascript": Language("till.mjs", ("node", "{sample}"), "nodejs"),
    "java": Language("Till.java", ("java", "{sample}"), "default-jdk-headless"),
    "php": Language("till.php", ("php", "{sample}"), "php-cli"),
    "c#": Language(
        "Till.cs",
        ("mono", "{out}"),
        "mono-mcs mono-runtime libmono-system-net-http4.0-cil",
        ("mcs", f"-r:{MONO_LIBRARIES}", "-out:{out}", "{sample}"),
    ),
}


class Sale(NamedTuple):
    """What a sample said about its sale."""

    code: int
    lines: list[str]
    errors: str


@dataclass
class Line:
    """A proxy in front of the agent. `lost`: answers that are recorded, and lost on the way.

    `is_silent`: no answer comes; `is_half`: its head and half of its body.
    """

    agent: Agent
    lost: int = 0
    is_silent: bool = False
    is_half: bool = False
    requests: list[tuple[str, str, bytes]] = field(default_factory=list)

    async def pass_on(self, request: web.Request) -> web.StreamResponse:
        """Pass a request on, and its answer back."""
        body = await request.read()
        self.requests.append((request.method, request.path, body))
        if self.is_silent:
            await asyncio.Event().wait()
        answer = await self.agent.request(request.method, request.path, body)
        if self.requests.count(self.requests[-1]) <= self.lost:
            assert request.transport is not None
            request.transport.abort()
        if self.is_half:
            await self._send_half(request, answer.body)
        kept = {name: value for name, value in answer.headers if name.startswith("Loyalty")}
        return web.Response(status=answer.status, body=answer.body, headers=kept)

    async def _send_half(self, request: web.Request, body: bytes) -> None:
        half = web.StreamResponse(headers={"Content-Length": str(len(body))})
        await half.prepare(request)
        await half.write(body[: len(body) // 2])
        await asyncio.Event().wait()


StartLine = Callable[..., Awaitable[tuple[Line, str]]]


@pytest.fixture
async def start_line(aiohttp_server: AiohttpServer, tmp_path: Path) -> AsyncIterator[StartLine]:
    """Return a function that starts a line, and returns it with its URL."""
    async with agent_under_test(settings_in(tmp_path / "state")) as agent:

        async def start(**faults: int) -> tuple[Line, str]:
            line = Line(agent, **faults)  # type: ignore[arg-type] # counts and a flag
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", line.pass_on)
            server = await aiohttp_server(app)
            return line, str(server.make_url("/")).rstrip("/")

        yield start


async def commands(language: Language, directory: Path) -> tuple[str, ...]:
    """Build the sample if needed; return the command that runs it. Skips without the language."""
    for command in (language.run, language.build):
        if command and shutil.which(command[0]) is None:
            pytest.skip(f"this machine has no {command[0]} (Debian: {language.debian})")
    places = {"sample": str(SAMPLES / language.sample), "out": str(directory / "sample.exe")}
    if language.build:
        built = await asyncio.create_subprocess_exec(*(w.format(**places) for w in language.build))
        assert await built.wait() == 0
    return tuple(word.format(**places) for word in language.run)


async def sell(command: tuple[str, ...], url: str) -> Sale:
    """Run a sample's sale."""
    environment = os.environ | {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
    pipe = asyncio.subprocess.PIPE
    selling = await asyncio.create_subprocess_exec(
        *command, url, stdout=pipe, stderr=pipe, env=environment
    )
    async with asyncio.timeout(PATIENCE_SECONDS):
        out, errors = await selling.communicate()
    assert selling.returncode is not None
    return Sale(selling.returncode, out.decode().removeprefix("\ufeff").splitlines(), str(errors))


@pytest.fixture(params=list(LANGUAGES.values()), ids=list(LANGUAGES))
async def command(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, ...]:
    return await commands(request.param, tmp_path)


async def test_sample_sells_with_one_session_and_one_answer(
    command: tuple[str, ...], start_line: StartLine
) -> None:
    line, url = await start_line()

    sale = await sell(command, url)

    receipts = [text.split("/")[-1] for text in sale.lines if text.startswith("Receipt: ")]
    assert (sale.code, receipts, sale.lines[-1]) == (0, ["1", "2"], "Sold.")
    assert any(text.startswith("Print: Adhérez au programme de fidélité") for text in sale.lines)
    assert len(line.requests) == 2


async def test_sample_repeats_after_a_lost_answer_with_the_same_id_and_body(
    command: tuple[str, ...], start_line: StartLine
) -> None:
    line, url = await start_line(lost=1)

    sale = await sell(command, url)

    start, start_again, answer, answer_again = line.requests
    assert start == start_again
    assert answer == answer_again
    assert (sale.code, sale.lines[-1]) == (0, "Sold.")
    assert len(line.agent.bodies()) == 2


@pytest.mark.parametrize("fault", ["is_silent", "is_half"])
async def test_sample_gives_up_and_sells_on_if_no_whole_answer_comes(
    start_line: StartLine, tmp_path: Path, fault: str
) -> None:
    """Of all languages at once: each waits for real."""
    present = [one for one in LANGUAGES.values() if shutil.which(one.run[0])]
    runs = [await commands(language, tmp_path) for language in present]
    lines = [await start_line(**{fault: True}) for _ in present]

    pairs = zip(runs, lines, strict=True)
    sales = await asyncio.gather(*(sell(command, url) for command, (_, url) in pairs))

    assert [(sale.code, sale.lines) for sale in sales] == [(0, ["Sold."])] * len(present)
    for line, _ in lines:
        assert len(line.requests) == 2
        assert line.requests[0] == line.requests[1]


@pytest.mark.parametrize("refused", [400, 503])
async def test_sample_repeats_a_503_and_no_400(
    command: tuple[str, ...], aiohttp_server: AiohttpServer, refused: int
) -> None:
    asked: list[bytes] = []

    async def refuse(request: web.Request) -> web.Response:
        asked.append(await request.read())
        members = {"statusCode": refused, "errorMessage": "no", "errorCode": "NO"}
        return web.json_response(members, status=refused, headers={"Loyalty-Reason": "because"})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", refuse)
    server = await aiohttp_server(app)

    sale = await sell(command, str(server.make_url("/")).rstrip("/"))

    assert (sale.code, sale.lines) == (0, ["Sold."])
    assert "because" in sale.errors
    assert len(asked) == (2 if refused == 503 else 1)
    assert len(set(asked)) == 1


@pytest.mark.parametrize("language", LANGUAGES.values(), ids=LANGUAGES)
def test_sample_is_short_enough_to_be_read(language: Language) -> None:
    text = (SAMPLES / language.sample).read_text("utf-8")

    assert len(text.splitlines()) < MAX_LINES
    assert max(len(line) for line in text.splitlines()) <= 100
