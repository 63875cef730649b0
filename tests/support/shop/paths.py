"""Delivery paths that tests are parametrised over: protocols and head offices, with faults."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from sync.protocol.wire import HEARTBEATS_PATH, PROGRAM_PATH
from tests.support.central import Fault, FaultServer, Request, ScriptedCentral
from tests.support.shop.receivers import FaultProxy, RestartableReceiver
from tests.support.shop.records import records_in, records_of
from tests.support.shop.verdict import StoredRecord

PATHS = ["batch", "replay", "batch to the receiver"]


@dataclass(frozen=True, slots=True)
class DeliveryPath:
    """A delivery path: its fault injector, protocol and records at head office."""

    server: FaultServer
    protocol: str
    records: Callable[[], list[StoredRecord]]
    token_file: Path | None = None


@asynccontextmanager
async def open_path(name: str, directory: Path) -> AsyncIterator[DeliveryPath]:
    """Open the path of this name; head office's files are in `directory`."""
    if name != "batch to the receiver":
        async with ScriptedCentral() as central:
            yield DeliveryPath(central, name, lambda: records_of(central))
        return
    async with (
        RestartableReceiver(directory / "receiver") as receiver,
        FaultProxy(receiver.url) as line,
    ):
        token_file = await receiver.enroll()
        yield DeliveryPath(line, "batch", lambda: records_in(receiver.database), token_file)


class EveryNth:
    """Applies `fault` to every nth request with captures, `at_most` so many times."""

    def __init__(self, nth: int, fault: Fault, at_most: int) -> None:
        self.met = 0
        self._nth, self._fault, self._at_most = nth, fault, at_most
        self._came = 0

    def __call__(self, request: Request) -> Fault | None:
        """Return the fault if it is this request's turn."""
        if request.path in {HEARTBEATS_PATH, PROGRAM_PATH} or self.met >= self._at_most:
            return None
        self._came += 1
        if self._came % self._nth:
            return None
        self.met += 1
        return self._fault
