"""Faults of a request in transit, one function each."""

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer before it is written; after `cut_after` bytes of the body the connection is cut."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None

    @classmethod
    def of(cls, status: int, document: object, **headers: str) -> "Answer":
        """Return an answer with a JSON body; `_` in a header's name stands for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        body = json.dumps(document, separators=(",", ":")).encode()
        return cls(status, body, {"Content-Type": "application/json"} | named)


@dataclass(frozen=True, slots=True)
class Lost:
    """No answer: the connection is closed, or reset if `reset`."""

    reset: bool = False


# Handles a request correctly; its effects are committed when the call returns.
Serve: TypeAlias = Callable[[], Awaitable[Answer]]
Fault: TypeAlias = Callable[[Serve], Awaitable[Answer | Lost]]


async def answer_lost(serve: Serve) -> Answer | Lost:
    """Commit, then close the connection without an answer."""
    await serve()
    return Lost()


async def reset_after(serve: Serve) -> Answer | Lost:
    """Commit, then reset the connection."""
    await serve()
    return Lost(reset=True)


async def reset_before(_serve: Serve) -> Answer | Lost:
    """Reset the connection; nothing is committed."""
    return Lost(reset=True)


async def cut_short(serve: Serve) -> Answer | Lost:
    """Commit, then close the connection in the middle of the response body."""
    answer = await serve()
    return Answer(answer.status, answer.body, answer.headers, cut_after=len(answer.body) // 2)


async def captive_portal(_serve: Serve) -> Answer | Lost:
    """Answer 200 with a captive portal's login page; nothing is committed."""
    page = b"<!DOCTYPE html><html><title>Welcome! Log in to go on-line</title></html>"
    return Answer(200, page, {"Content-Type": "text/html"})


async def redirected(_serve: Serve) -> Answer | Lost:
    """Redirect the client, as a captive portal does."""
    return Answer(302, b"", {"Location": "/welcome"})


def html(status: int) -> Fault:
    """Answer with an HTML page, as a proxy does; nothing is committed."""
    return _constant(Answer(status, b"<html>Sorry</html>", {"Content-Type": "text/html"}))


def gateway(status: int, **headers: str) -> Fault:
    """Answer as an API gateway does, with a `message` field alone; nothing is committed."""
    return _constant(Answer.of(status, {"message": "made up by the gateway"}, **headers))


def problem(status: int, code: str, message: str = "scripted", **headers: str) -> Fault:
    """Answer with the three-field error body; nothing is committed."""
    return _constant(error(status, code, message, **headers))


def respond_with(answer: Answer) -> Fault:
    """Answer with `answer`; nothing is committed."""
    return _constant(answer)


def overloaded(retry_after: str, status: int = 429) -> Fault:
    """Answer that head office is overloaded; `retry_after` is in seconds or an HTTP date."""
    return problem(status, "UNAVAILABLE", Retry_After=retry_after)


def slow(seconds: float) -> Fault:
    """Commit, then answer after `seconds`."""

    async def late(serve: Serve) -> Answer | Lost:
        answer = await serve()
        await asyncio.sleep(seconds)
        return answer

    return late


class Stalled:
    """Commits, then delays the answer until `release` is set; `reached` is set after the commit."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.release = asyncio.Event()

    async def __call__(self, serve: Serve) -> Answer | Lost:
        answer = await serve()
        self.reached.set()
        await self.release.wait()
        return answer


def error(status: int, code: str, message: str, **headers: str) -> Answer:
    """Return the three-field error body that both protocols use."""
    fields = {"statusCode": status, "errorMessage": message, "errorCode": code}
    return Answer.of(status, fields, **headers)


def end(transport: asyncio.BaseTransport, *, reset: bool) -> None:
    """End a connection at once, by a reset if `reset`."""
    sock = transport.get_extra_info("socket")
    if reset and sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert isinstance(transport, asyncio.Transport) or hasattr(transport, "abort")
    transport.abort()


def _constant(answer: Answer) -> Fault:
    async def fault(_serve: Serve) -> Answer | Lost:
        return answer

    return fault
