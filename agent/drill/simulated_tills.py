"""Simulated tills: send captures, retry until acknowledged, record receipts."""

import asyncio
import contextlib
import json
import uuid
from dataclasses import dataclass, field
from typing import TypeAlias

import aiohttp

TILLS = 3
SESSION, EMAIL = "session", "email"
# (kind, session id) of a capture.
CaptureId: TypeAlias = tuple[str, str]
_RETRY_SECONDS = 0.05
_TIMEOUT = aiohttp.ClientTimeout(total=5)
_HEADERS = {"Content-Type": "application/json"}


@dataclass(slots=True)
class Receipts:
    """Requested captures with their content, and the receipts of acknowledged ones.

    The content of a session start is its body, that of an e-mail answer its address. `retries`
    counts retried requests.
    """

    requested: dict[CaptureId, str] = field(default_factory=dict)
    acknowledged: dict[CaptureId, str] = field(default_factory=dict)
    retries: int = 0


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
        """Finish the current customers; abandon them after `timeout_seconds`. Idempotent."""
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
        async with aiohttp.ClientSession(timeout=_TIMEOUT, headers=_HEADERS) as client:
            while not self._closing:
                await self._serve_customer(client)
                await asyncio.sleep(self._pause_seconds)

    async def _serve_customer(self, client: aiohttp.ClientSession) -> None:
        session = str(uuid.uuid4())
        start = json.dumps({"correlationId": session, "channel": "STORE", "locale": "en-CA"})
        self.receipts.requested[SESSION, session] = start
        await self._capture(client, "POST", "/anonymous/sessions", start, (SESSION, session))
        address = f"guest-{session[:8]}@example.com"
        answer = json.dumps({"status": "accepted", "emailAddress": address})
        self.receipts.requested[EMAIL, session] = address
        await self._capture(client, "PUT", f"/{session}/profile/email", answer, (EMAIL, session))

    async def _capture(
        self, client: aiohttp.ClientSession, method: str, path: str, body: str, capture: CaptureId
    ) -> None:
        """Send a capture until its receipt arrives."""
        while capture not in self.receipts.acknowledged:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with client.request(method, self._url + path, data=body) as response:
                    await response.read()
                    if response.ok and (receipt := response.headers.get("Loyalty-Receipt")):
                        self.receipts.acknowledged[capture] = receipt
                        return
            self.receipts.retries += 1
            await asyncio.sleep(_RETRY_SECONDS)
