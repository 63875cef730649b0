"""Tills under test: a program that makes one sale per run, or a person at a till."""

import asyncio
import contextlib
import os
import shlex
import shutil
import signal
import sys
from asyncio.subprocess import DEVNULL
from typing import Protocol

from agent.certify.judgement import SaleEnd
from agent.certify.situations import SaleLimits, Situation


class Till(Protocol):
    """Makes the sales of a situation."""

    async def sell(self, situation: Situation) -> SaleEnd | None:
        """Return when the last sale has ended; None if the situation is skipped."""


class CommandError(Exception):
    """The till's program cannot be started."""


class CommandTill:
    """A program that makes one sale and exits with 0 if the sale was sold.

    `{url}` in its words is the agent's address, `{situation}` the situation's key; both are in its
    environment too. What it prints goes to standard error.
    """

    def __init__(self, command: str, url: str, limits: SaleLimits) -> None:
        try:
            self._words = shlex.split(command)
        except ValueError as error:
            raise CommandError(f"the till's command cannot be read ({error})") from None
        if not self._words:
            raise CommandError("the till's command is empty")
        self.has_address = "{url}" in command
        if shutil.which(self._words[0]) is None:
            raise CommandError(f"there is no program {self._words[0]}")
        self._url = url
        self._limits = limits

    async def sell(self, situation: Situation) -> SaleEnd:
        """Run the program once for each sale."""
        for _ in range(situation.sales):
            end = await self._sell_once(situation)
            if not end.is_sold:
                break
        return end

    async def _sell_once(self, situation: Situation) -> SaleEnd:
        loop, limit = asyncio.get_running_loop(), self._limits.sale_seconds
        process = await self._start(situation)
        try:
            async with asyncio.timeout(limit):
                code = await process.wait()
        except TimeoutError:
            return SaleEnd(False, f"It did not end within {limit:g} s.", loop.time())
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        if code == 0:
            return SaleEnd(True, "The sale was sold.", loop.time())
        return SaleEnd(False, f"Its program ended with exit code {code}.", loop.time())

    async def _start(self, situation: Situation) -> asyncio.subprocess.Process:
        known = {"{url}": self._url, "{situation}": situation.key}
        words = [*self._words]
        for name, value in known.items():
            words = [word.replace(name, value) for word in words]
        environ = os.environ | {"SANDBOX_URL": self._url, "SANDBOX_SITUATION": situation.key}
        try:
            return await asyncio.create_subprocess_exec(
                *words,
                env=environ,
                stdin=DEVNULL,
                stdout=sys.stderr.fileno(),
                start_new_session=True,
            )
        except OSError as error:
            raise CommandError(f"cannot start {words[0]} ({error.strerror})") from None
