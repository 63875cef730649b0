"""`/sandbox`: plans faults over HTTP, for an integrator's program."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import hdrs, web

from agent.api.access import Access
from agent.sandbox.answers import NOTICE, SANDBOX, bad_control, error_answer
from agent.sandbox.exchange import Exchange
from agent.sandbox.faults import EXPLAINED, Fault, FaultPlan, FaultSyntaxError, parse_members
from sync.runtime.network.http_errors import HttpError
from sync.runtime.network.http_server import json_response

_ROOT, _FAULTS, _RESTART = "/sandbox", "/sandbox/faults", "/sandbox/restart"
# Restarts the agent; keeps the connection of the request.
Restart = Callable[[asyncio.Transport | None], Awaitable[None]]


class Control:
    """Answers the control requests; None for all others."""

    def __init__(self, plan: FaultPlan, restart: Restart) -> None:
        self._plan = plan
        self._restart = restart
        # As at the agent: no page of another origin, and no name but a loopback one.
        self._access = Access(frozenset(), frozenset())

    async def answer(self, request: web.Request) -> web.StreamResponse | None:
        """Return the answer to a control request, None for any other request."""
        if request.path not in {_ROOT, _FAULTS, _RESTART}:
            return None
        try:
            self._access.check(request)
            answer = await self._do(request)
        except HttpError as error:
            return error_answer(error)
        except FaultSyntaxError as error:
            return bad_control(str(error))
        answer.headers[SANDBOX] = NOTICE
        return answer

    async def _do(self, request: web.Request) -> web.Response:
        match request.method, request.path:
            case hdrs.METH_POST, str(path) if path == _FAULTS:
                self._plan.add(parse_members(await _json_of(request)))
            case hdrs.METH_DELETE, str(path) if path == _FAULTS:
                self._plan.clear()
            case hdrs.METH_POST, str(path) if path == _RESTART:
                await self._restart(request.transport)
            case hdrs.METH_GET, _:
                pass
            case _:
                raise FaultSyntaxError(f"use GET {_ROOT}, POST or DELETE {_FAULTS}")
        return json_response(self._state())

    def _state(self) -> Mapping[str, object]:
        return {
            "sandbox": NOTICE,
            "pending": [_members(fault) for fault in self._plan.pending],
            "kinds": {kind.value: text for kind, text in EXPLAINED.items()},
        }


class PlannedFaults:
    """The fault injector of a sandbox: injects planned faults, and shows each exchange."""

    def __init__(self, plan: FaultPlan, show: Callable[[Exchange], None]) -> None:
        self._plan = plan
        self.on_end = show

    def fault_for(self, exchange: Exchange) -> Fault | None:
        """Return the next fault that was asked for this call."""
        return self._plan.take(exchange.call)


def _members(fault: Fault) -> Mapping[str, object]:
    return {
        "kind": fault.kind,
        "call": fault.call,
        "seconds": fault.seconds,
        "times": fault.times,
    }


async def _json_of(request: web.Request) -> object:
    try:
        return json.loads(await request.read())
    except (ValueError, RecursionError):
        raise FaultSyntaxError("the body is not JSON") from None
