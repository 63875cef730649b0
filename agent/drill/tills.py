"""Three tills that serve customers and keep every receipt they were given."""

import asyncio
import uuid
from dataclasses import dataclass, field

import aiohttp

TILLS = 3
_ASK_AGAIN_SECONDS = 0.05
_TIMEOUT = aiohttp.ClientTimeout(total=5)


@dataclass(slots=True)
class Receipts:
    """What the tills asked for, and what they were promised: receipts by kind and session.

    `addresses` are what customers gave, by session.
    """

    captured: int = 0
    promised: dict[tuple[str, str], str] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)


class Tills:
    """Tills at an agent's port, from `open` to `close`; a capture is asked for until answered."""

    def __init__(self, port: int, pause_seconds: float) -> None:
        self.receipts = Receipts()
        self._url = f"http://127.0.0.1:{port}/client/users"
        self._pause_seconds = pause_seconds
        self._closing = False
        self._tills: list[asyncio.Task[None]] = []

    def open(self) -> None:
        """Begin to serve customers."""
        self._tills = [asyncio.ensure_future(self._serve()) for _ in range(TILLS)]

    async def close(self) -> None:
        """Serve the customers at the tills to the end, and take no more."""
        self._closing = True
        await asyncio.gather(*self._tills)

    async def _serve(self) -> None:
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as line:
            while not self._closing:
                await self._serve_customer(line)
                await asyncio.sleep(self._pause_seconds)

    async def _serve_customer(self, line: aiohttp.ClientSession) -> None:
        session = str(uuid.uuid4())
        address = f"guest-{session[:8]}@example.com"
        self.receipts.addresses[session] = address
        start = {"correlationId": session, "channel": "STORE", "locale": "en-CA"}
        await self._capture(line, "POST", "/anonymous/sessions", start, ("session", session))
        answer = {"status": "accepted", "emailAddress": address}
        await self._capture(line, "PUT", f"/{session}/profile/email", answer, ("email", session))

    async def _capture(
        self,
        line: aiohttp.ClientSession,
        method: str,
        path: str,
        body: dict[str, str],
        name: tuple[str, str],
    ) -> None:
        self.receipts.captured += 1
        while True:
            receipt = await self._ask(line, method, path, body)
            if receipt is not None:
                self.receipts.promised[name] = receipt
                return
            await asyncio.sleep(_ASK_AGAIN_SECONDS)

    async def _ask(
        self, line: aiohttp.ClientSession, method: str, path: str, body: dict[str, str]
    ) -> str | None:
        """Return the receipt; None where there was no answer, or not yet a good one."""
        try:
            async with line.request(method, self._url + path, json=body) as answer:
                await answer.read()
                return answer.headers["Loyalty-Receipt"] if answer.ok else None
        except (aiohttp.ClientError, TimeoutError):
            return None
