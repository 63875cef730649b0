"""Simulated tills: send captures, retry until acknowledged, record receipts."""

import asyncio
import json
import uuid
from dataclasses import dataclass, field
from typing import TypeAlias

import aiohttp

TILLS = 3
SESSION, EMAIL = "session", "email"
# (kind, session id) of a capture.
Name: TypeAlias = tuple[str, str]
_ASK_AGAIN_SECONDS = 0.05
_TIMEOUT = aiohttp.ClientTimeout(total=5)
_HEADERS = {"Content-Type": "application/json"}


@dataclass(slots=True)
class Receipts:
    """Requested captures with their content, and the receipts of acknowledged ones.

    The content of a session start is its body, that of an e-mail answer its address. `repeats`
    counts retried requests.
    """

    asked: dict[Name, str] = field(default_factory=dict)
    promised: dict[Name, str] = field(default_factory=dict)
    repeats: int = 0

    @property
    def captured(self) -> int:
        """Number of requested captures."""
        return len(self.asked)


class Tills:
    """Runs the tills from `open` to `close`; each capture is retried until acknowledged."""

    def __init__(self, port: int, pause_seconds: float) -> None:
        self.receipts = Receipts()
        self._url = f"http://127.0.0.1:{port}/client/users"
        self._pause_seconds = pause_seconds
        self._closing = False
        self._tills: list[asyncio.Task[None]] = []

    def open(self) -> None:
        """Start serving customers."""
        self._tills = [asyncio.ensure_future(self._serve()) for _ in range(TILLS)]

    async def close(self, timeout_seconds: float) -> None:
        """Finish the current customers and stop.

        Captures in progress are abandoned after `timeout_seconds`. Idempotent.
        """
        self._closing = True
        if not self._tills:
            return
        served, unserved = await asyncio.wait(self._tills, timeout=timeout_seconds)
        self._tills = []
        for till in unserved:
            till.cancel()
        await asyncio.gather(*unserved, return_exceptions=True)
        await asyncio.gather(*served)

    async def _serve(self) -> None:
        async with aiohttp.ClientSession(timeout=_TIMEOUT, headers=_HEADERS) as line:
            while not self._closing:
                await self._serve_customer(line)
                await asyncio.sleep(self._pause_seconds)

    async def _serve_customer(self, line: aiohttp.ClientSession) -> None:
        session = str(uuid.uuid4())
        start = json.dumps({"correlationId": session, "channel": "STORE", "locale": "en-CA"})
        self.receipts.asked[SESSION, session] = start
        await self._capture(line, "POST", "/anonymous/sessions", start, (SESSION, session))
        address = f"guest-{session[:8]}@example.com"
        answer = json.dumps({"status": "accepted", "emailAddress": address})
        self.receipts.asked[EMAIL, session] = address
        await self._capture(line, "PUT", f"/{session}/profile/email", answer, (EMAIL, session))

    async def _capture(
        self, line: aiohttp.ClientSession, method: str, path: str, body: str, name: Name
    ) -> None:
        while (receipt := await self._ask(line, method, path, body)) is None:
            self.receipts.repeats += 1
            await asyncio.sleep(_ASK_AGAIN_SECONDS)
        self.receipts.promised[name] = receipt

    async def _ask(
        self, line: aiohttp.ClientSession, method: str, path: str, body: str
    ) -> str | None:
        """Return the receipt; None on a network error or an error response."""
        try:
            async with line.request(method, self._url + path, data=body) as answer:
                await answer.read()
                return answer.headers.get("Loyalty-Receipt") if answer.ok else None
        except (aiohttp.ClientError, TimeoutError):
            return None
