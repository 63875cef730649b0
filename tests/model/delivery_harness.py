"""An agent and head office in one process, without tills, threads, syncs, clocks and sockets.

Real: the outbox on a file, the pass, the transports and the heartbeat. Scripted: head office,
behind an in-memory connection.
"""

import asyncio
import re
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from agent.capture.session_answer import SessionAnswers
from agent.facts import Capture, EmailAnswered, EmailStatus, SessionStarted
from agent.store.outbox.dead_letter_queue import DeadLetter
from agent.store.queries.reader import StoreReader
from agent.store.retention.retention import RetentionDays
from agent.uplink.heartbeat import HeartbeatLoop
from agent.uplink.shared_name import SharedName
from agent.uplink.terms_sync import ProgramTermsSync
from sync.delivery.delivery_pass import DeliveryPass, PassReport
from sync.delivery.outbox import BatchLimits
from sync.delivery.throttle import Throttle
from sync.delivery.transport import Transport
from sync.delivery.transports.auth import NoCredentials
from sync.delivery.transports.batch.batch_transport import BatchTransport
from sync.delivery.transports.batch.documents import Sender
from sync.delivery.transports.central_client import CentralClient
from sync.delivery.transports.replay.replay_transport import ReplayTransport
from sync.delivery.transports.short_retries import ShortRetries
from sync.runtime.settings.program import ProgramSettings
from tests.model.whole.fast_storage import without_syncs
from tests.model.whole.inline_writer import InlineWriter
from tests.support.agent.outbox import OutboxRig, start_outbox
from tests.support.agent.store import AT, EpochIds, crashed_copy, opener, query
from tests.support.central import Answer, Fault, Request, ScriptedCentral
from tests.support.central.batch_protocol import read_batch
from tests.support.central.faults import Lost, Serve
from tests.support.central.in_memory import InMemoryClient
from tests.support.clocks import WallClock
from tests.support.virtual_time import VirtualLoop

T = TypeVar("T")
NO_RETENTION = RetentionDays(delivered_days=0, email_days=0)
LIMITS = BatchLimits(events=3, max_bytes=2**20)
TIMEOUT_SECONDS = 60
_NUMBER = re.compile(rb'"n":(\d+)')
# State of each event, by the number that a test wrote into its capture.
_STORED_EVENTS = """
SELECT json_extract(CAST(event.body AS TEXT), '$.n'),
       event.position > destination.watermark AND settled.position IS NULL,
       dead_letter.position IS NOT NULL,
       email_answer.address IS NOT NULL
FROM event
LEFT JOIN destination ON destination.name = 'central'
LEFT JOIN settled ON settled.position = event.position
LEFT JOIN dead_letter ON dead_letter.position = event.position
LEFT JOIN email_answer ON email_answer.position = event.position
"""


def numbered_session(name: str, number: int) -> SessionStarted:
    """Return a session with the capture's number in its body."""
    return SessionStarted(
        name, None, False, b'{"correlationId":"%b","n":%d}' % (name.encode(), number)
    )


def numbered_answer(name: str, number: int) -> EmailAnswered:
    """Return an answer with its own address and the capture's number in its body."""
    address = f"guest{number}@example.com"
    return EmailAnswered(
        name, EmailStatus.ACCEPTED, address, b'{"status":"accepted","n":%d}' % number
    )


class DeliveryHarness:
    """Harness for one protocol; runs its own event loop during each call."""

    def __init__(
        self,
        protocol: str,
        central: Callable[[], ScriptedCentral] = ScriptedCentral,
        template: Path | None = None,
    ) -> None:
        """Start the agent on the files of `template`, or on a new directory."""
        self.protocol = protocol
        self._open = ExitStack()
        self._open.enter_context(without_syncs())
        self.runner = self._open.enter_context(asyncio.Runner(loop_factory=VirtualLoop))
        self._temporary = tempfile.TemporaryDirectory(prefix="delivery-model-")
        self.epochs, self.clock = EpochIds(), WallClock()
        self.central = self.runner.run(_call(central))
        self.http = InMemoryClient(self.central)
        self.directory = Path(self._temporary.name) / "0"
        self.failing: dict[int, Fault] = {}
        self._starts = 0
        if template is not None:
            crashed_copy(template, self.directory)
        self._start()

    def close(self) -> None:
        """Close everything and delete the files."""
        self.runner.run(self.rig.writer.close())
        self._open.close()
        self._temporary.cleanup()

    def capture(self, capture: Capture) -> None:
        """Store a till's capture."""
        self.runner.run(self.rig.capture(capture))

    def push(self, *, probing: bool = False, failures: int = 0) -> PassReport:
        """Run a pass to its end, after so many failed ones."""
        return self.runner.run(self._push(probing=probing, failures=failures))

    def push_and_cancel(self, request: int, *, served: bool) -> None:
        """Run a pass and cancel it at request number `request`, before or after it is served."""
        self.runner.run(self._interrupt(request, served=served))

    def crash_while_pushing(self, request: int, *, served: bool) -> None:
        """Run a pass, crash at request number `request`, and restart from the files."""
        self._starts += 1
        place = Path(self._temporary.name) / str(self._starts)

        async def copy() -> None:
            await self.rig.writer.run(lambda store: crashed_copy(store.directory, place))

        self.runner.run(self._interrupt(request, served=served, then=copy))
        self._restart_in(place)

    def restart(self) -> None:
        """Stop cleanly and start again."""
        self._restart_in(self.directory)

    def copy_to(self, place: Path) -> None:
        """Copy the files, with everything in the database file."""
        self.runner.run(self.rig.writer.close())
        crashed_copy(self.directory, place)

    def push_with_heartbeat(self) -> None:
        """Run a pass with a heartbeat in the middle."""
        self.runner.run(self._push_with_heartbeat())

    def send_heartbeat(self) -> None:
        """Send a heartbeat and apply its response."""
        self.runner.run(self.heartbeat.heartbeat_once())

    def erase(self) -> None:
        """Erase all due addresses."""
        self._until_done(lambda: self.rig.outbox.retention.erase_once())  # noqa: PLW0108 - of the rig as it then is

    def purge(self) -> None:
        """Purge all due events."""
        self._until_done(lambda: self.rig.outbox.retention.purge_once())  # noqa: PLW0108 - of the rig as it then is

    def retry_all(self) -> None:
        """Retry all dead letters, some days later: longer than any clock step back."""
        self.clock.pass_seconds(3 * 24 * 3600)
        self.runner.run(self.rig.outbox.dead_letters.retry_due())

    def retry_deferred(self) -> None:
        """Try the deferred events again in the next pass, as `loyalty-agent sync` does."""
        self.runner.run(self.rig.outbox.dead_letters.retry_deferred())

    def decide_dead_letter(self, which: int, *, discarding: bool) -> int | None:
        """Retry or discard one dead letter; return its sequence."""
        letters = self.rig.outbox.dead_letters
        shown = self.dead_letters_shown()
        if not shown:
            return None
        receipt = shown[which % len(shown)].receipt
        decided = letters.discard if discarding else letters.retry
        assert self.runner.run(decided(receipt.epoch, receipt.sequence))
        return receipt.sequence

    def set_aside(self, which: int) -> None:
        """Make one deferred event a dead letter, if there is one."""
        deferred = [one for one in self.dead_letters_shown() if one.stuck_since_us is not None]
        if deferred:
            receipt = deferred[which % len(deferred)].receipt
            setting = self.rig.outbox.dead_letters.set_aside(receipt.epoch, receipt.sequence)
            assert self.runner.run(setting)

    def set_aside_stuck(self, days: int) -> None:
        """Make the events that are stuck for so many days dead letters, as each hour."""
        self.runner.run(self.rig.outbox.dead_letters.set_aside_stuck(days))

    def fail_on(self, number: int, fault: Fault) -> None:
        """Meet `fault` with every request that holds this capture."""
        self.failing[number] = fault
        self.central.default_fault = self._fault_of

    def accept_all(self) -> None:
        """Let head office, and what is before it, take every event."""
        self.failing.clear()
        self.central.accept_all()

    def held(self) -> dict[int, tuple[bool, bool, bool]]:
        """Return by number: is pending, is a dead letter, has an address."""
        rows = query(self.directory, _STORED_EVENTS)
        return {
            int(str(n)): (bool(is_pending or is_pending is None), bool(dead), bool(addressed))
            for n, is_pending, dead, addressed in rows
        }

    def dead_letters_shown(self) -> list[DeadLetter]:
        """Return the dead letters and deferred events that are not discarded."""
        return self.runner.run(self.rig.outbox.dead_letters.page(1_000, is_any=True))

    def dead_letters(self, error_code: str) -> set[int]:
        """Return the numbers of the dead letters with this code."""
        sql = "SELECT position FROM dead_letter WHERE error_code = ?"
        return {int(str(position)) for (position,) in query(self.directory, sql, error_code)}

    def _start(self) -> None:
        self.rig: OutboxRig = self.runner.run(self._started())
        client = CentralClient(
            self.http, "http://central.example", NoCredentials(), lambda: datetime.now(UTC)
        )
        sender = Sender("store-1", "till-1", "boot-1", "1.0", lambda: AT)
        self.transport = self._transport(client, sender)
        answers = SessionAnswers(ProgramSettings().terms())
        terms = ProgramTermsSync(answers, self.rig.outbox.access, self.clock)
        name = SharedName(self.rig.outbox.access, self.directory, "boot-1", self.clock)
        self.heartbeat = self.runner.run(
            _call(
                lambda: HeartbeatLoop(
                    client,
                    sender,
                    StoreReader(self.directory),
                    self.rig.outbox,
                    terms,
                    on_requeued=lambda: None,
                    on_result=lambda _refusal: None,
                    shared_name=name,
                )
            )
        )

    async def _started(self) -> OutboxRig:
        rig = start_outbox(
            self.directory,
            opener(self.directory, epochs=self.epochs),
            self.clock,
            NO_RETENTION,
            writer_type=InlineWriter,
        )
        await rig.writer.check(30)
        return rig

    def _transport(self, client: CentralClient, sender: Sender) -> Transport:
        async def yield_once(_seconds: float) -> None:
            await asyncio.sleep(0)

        retries = ShortRetries(lambda: 0.5, yield_once)
        if self.protocol == "batch":
            return BatchTransport(client, sender, retries, LIMITS)
        return ReplayTransport(
            client, retries, LIMITS, max_in_flight=2, on_terms=lambda _kind, _terms: None
        )

    def _fault_of(self, request: Request) -> Fault | None:
        content = request.body
        if request.encoding == "zstd":
            batch = read_batch(request.body, request.encoding)
            content = b" ".join(bytes(event.body) for event in batch.events)
        held = {int(number) for number in _NUMBER.findall(content)}
        return next((self.failing[one] for one in sorted(held) if one in self.failing), None)

    def _restart_in(self, directory: Path) -> None:
        self.runner.run(self.rig.writer.close())
        self.directory = directory
        self._start()

    async def _push(self, *, probing: bool = False, failures: int = 0) -> PassReport:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await DeliveryPass(
                self.rig.outbox, self.transport, Throttle(sleep=_no_sleep), probing, failures
            ).run()

    async def _interrupt(
        self, request: int, *, served: bool, then: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        reached = asyncio.Event()

        async def hang(serve: Serve) -> Answer | Lost:
            if served:
                await serve()
            reached.set()
            await asyncio.Event().wait()
            raise AssertionError("the pass was not cut off")

        self.central.script(*[_serve] * request, hang)
        running = asyncio.ensure_future(self._push())
        waiting = asyncio.ensure_future(reached.wait())
        await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if then is not None:
            await then()
        for task in (running, waiting):
            task.cancel()
        await asyncio.wait({running, waiting})
        self.central.clear_script()
        # After this job a settle that was pending when the pass ended is on the disk.
        await self.rig.writer.check(30)

    async def _push_with_heartbeat(self) -> None:
        async def send_heartbeat_first(serve: Serve) -> Answer | Lost:
            await self.heartbeat.heartbeat_once()
            return await serve()

        self.central.script(send_heartbeat_first, on="/sync/v1/batches")
        await self._push()
        self.central.clear_script()

    def _until_done(self, step: Callable[[], Awaitable[bool]]) -> None:
        async def repeat() -> None:
            while await step():
                pass

        self.runner.run(repeat())


async def _call(make: Callable[[], T]) -> T:
    return make()


async def _serve(serve: Serve) -> Answer | Lost:
    return await serve()


async def _no_sleep(seconds: float) -> None: ...
