"""A POS machine of a history: its files, its clocks, and the agent that runs on it."""

import asyncio
import shutil
import sqlite3
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from agent.capture.email_answer import parse_email_answer
from agent.capture.refusals import Refusal
from agent.capture.session_answer import SessionAnswers
from agent.capture.session_start import parse_session_start
from agent.facts import Capture, Outcome, Receipt, Recorded
from agent.store.crypto.bodies import decrypt_body
from agent.store.crypto.vault import read_vault
from agent.store.db.connect import DATABASE_FILE
from agent.store.db.epochs import Epochs, read_epochs
from agent.store.files.high_water_mark import MARK_FILE
from agent.store.files.quarantine import list_unfinished
from agent.store.files.storage_errors import StorageError
from agent.store.open import StoreOpener
from agent.store.outbox.outbox import StoreOutbox
from agent.store.queries.reader import StoreReader
from agent.store.recovery.erase import erase_delivered
from agent.store.recovery.extract import extract
from agent.store.recovery.salvage import Salvage
from agent.store.retention.retention import RetentionDays
from agent.store.store import StoreEnvironment
from agent.uplink.heartbeat import HeartbeatLoop
from agent.uplink.outbox_after_heartbeat import OutboxAfterHeartbeat
from agent.uplink.shared_name import SharedName
from agent.uplink.terms_sync import ProgramTermsSync
from sync.delivery.delivery_pass import DeliveryPass
from sync.delivery.outbox import BatchLimits
from sync.delivery.throttle import Throttle
from sync.delivery.transports.batch.batch_transport import BatchTransport
from sync.delivery.transports.batch.documents import Sender
from sync.delivery.transports.central_client import CentralClient
from sync.delivery.transports.short_retries import ShortRetries
from sync.protocol.program_terms import Locale
from sync.receiver.auth.tokens import AgentName
from sync.runtime.retention_clock import CLOCK_FILE, RetentionClock
from sync.runtime.settings.program import ProgramSettings
from tests.model.whole.clocks import MachineClock, TrueTime
from tests.model.whole.head_office import HeadOffice, number_in
from tests.model.whole.inline_writer import InlineWriter
from tests.model.whole.line import Fault, Line
from tests.model.whole.till_book import Request
from tests.support.agent.outbox import ignore_commit
from tests.support.agent.store import KEY_FILE, LIMITS, EpochIds

DAYS = RetentionDays(delivered_days=30, email_days=0)
BATCH = BatchLimits(events=3, max_bytes=2**20)
TOKEN_FILE = "token"  # noqa: S105 - a file name
TERMS = ProgramSettings().terms()
WITHOUT_MARK = (DATABASE_FILE, f"{DATABASE_FILE}-wal")
MISREAD_TERMS = """
UPDATE program_terms SET terms = ?, agent_version = '0.9' WHERE source = 'program'
"""
HELD = """
SELECT event.position, event.body, session.correlation_id,
    event.position > coalesce(destination.watermark, 0) AND settled.position IS NULL,
    dead_letter.position IS NOT NULL AND discarded_at_us IS NULL,
    discarded_at_us IS NOT NULL,
    email_answer.address IS NOT NULL,
    dead_letter.error_code
FROM event
LEFT JOIN session ON session.position = event.session_position
LEFT JOIN destination ON destination.name = 'central'
LEFT JOIN settled ON settled.position = event.position
LEFT JOIN dead_letter ON dead_letter.position = event.position
LEFT JOIN email_answer ON email_answer.position = event.position
ORDER BY event.position
"""


@dataclass(frozen=True, slots=True)
class Held:
    """An event in an agent's database. `number`: that of the till's request."""

    number: int
    receipt: Receipt
    is_pending: bool
    is_dead: bool
    is_discarded: bool
    has_address: bool
    error_code: str | None


@dataclass
class Site:
    """What all machines of a history share: a place for their files, head office, time, ids."""

    root: Path
    office: HeadOffice
    time: TrueTime
    epochs: EpochIds = field(default_factory=EpochIds)
    _count: int = 0

    def new_name(self, kind: str) -> str:
        """Return a new name, for a directory or a boot."""
        self._count += 1
        return f"{kind}-{self._count}"

    def new_directory(self) -> Path:
        """Return a path that does not exist yet."""
        return self.root / self.new_name("machine")


class Machine:
    """A machine with its agent, which runs from `start` to `stop`.

    `knows_own`: it was not set back, together with its mark, to a state of before. `untold`: the
    requests it lost when it was set back without its mark, until head office may know.
    `epochs_of_mark`: the epochs that only its mark knows since then.
    """

    def __init__(self, site: Site, name: AgentName, directory: Path) -> None:
        self.site, self.name, self.directory = site, name, directory
        self.line = Line(site.office, site.time)
        self.clock = MachineClock(site.time)
        self.boot_id = site.new_name("boot")
        self.is_running = self.is_gone = self.was_used = False
        self.failures = 0
        self.had_wrong_clock = False
        self.untold: set[int] = set()
        self.epochs_of_mark: set[str] = set()

    async def start(self) -> None:
        """Start the agent."""
        site, wall_us = self.site, self.clock.wall_us
        environment = StoreEnvironment(wall_us, site.epochs, self.boot_id)
        key_file = self.directory / KEY_FILE
        opener = StoreOpener(self.directory, key_file, LIMITS, environment)
        self.writer = InlineWriter(opener, ignore_commit)
        self.writer.start()
        clock = RetentionClock(self.directory / CLOCK_FILE, self.boot_id, self.clock.both_us)
        self.outbox = StoreOutbox(
            self.writer,
            self.directory,
            key_file,
            DAYS,
            now_us=wall_us,
            agent_version="1.0",
            retention_clock=clock,
        )
        self.salvage = Salvage(self.outbox.access, self.directory, 0, _extract, _erase)
        self._connect()
        self.is_running = self.was_used = True
        await self.terms.restore_when_open()
        await clock()  # as the job that erases addresses does, every few seconds
        await self.retry_due()

    async def stop(self) -> None:
        """Stop the agent in order. Idempotent."""
        if self.is_running:
            self.is_running = False
            await self.writer.close()

    async def restart(self) -> None:
        """Stop and start the agent."""
        await self.stop()
        await self.start()

    async def retry_due(self) -> None:
        """Retry the dead letters that are due, if there are any: the job itself takes its time."""
        if any(one.is_dead for one in self.held()):
            await self.outbox.dead_letters.retry_due()

    async def capture(self, *requests: Request) -> list[Recorded | None]:
        """Pass requests of tills to the agent as one group; None for each that is refused."""
        parsed = [self._parse(one) for one in requests]
        at = self.clock()
        replies = [self.writer.record(one, at) for one in parsed if one is not None]
        outcomes = iter([await _outcome(reply) for reply in replies])
        found = [None if one is None else next(outcomes) for one in parsed]
        return [one if isinstance(one, Recorded) else None for one in found]

    async def deliver(self, *faults: Fault) -> None:
        """Run a delivery pass; its first requests meet `faults`."""
        self.line.faults = deque(faults)
        throttle, failures = Throttle(sleep=_no_sleep), self.failures
        outbox, transport = self.outbox_after_heartbeat, self.transport
        report = await DeliveryPass(outbox, transport, throttle, failures > 0, failures).run()
        self.failures = 0 if report.stop is None else failures + 1
        self.line.faults.clear()

    async def heartbeat(self, *faults: Fault) -> None:
        """Send a heartbeat and act on its answer."""
        if list_unfinished(self.directory):
            await self.salvage.run_once()  # as the job does, every two seconds
        self.line.faults = deque(faults)
        await self.heartbeats.heartbeat_once()
        self.line.faults.clear()

    async def _hear(self, opening: int) -> None:
        """Let the heartbeat loop answer a pass that asks first, as its task does."""
        heard = asyncio.create_task(self.heartbeats.hear(opening))
        await asyncio.sleep(0)
        if not heard.done():
            await self.heartbeats.heartbeat_once()
        await heard

    async def clean_up(self) -> None:
        """Run the retention jobs to their end."""
        retention = self.outbox.retention
        if self.had_wrong_clock:
            await retention.repair_times()
        steps = (retention.erase_once, retention.erase_digests_once, retention.purge_once)
        for step in steps:
            await _until_done(step)

    def copy_to(self, place: Path) -> None:
        """Copy the files as they are now."""
        shutil.copytree(self.directory, place, ignore=shutil.ignore_patterns("*-shm"))

    def read_terms_as_another_version(self) -> None:
        """Let the stored program terms be what another version of the agent made of them."""
        misread = msgspec.json.encode(msgspec.structs.replace(TERMS, locale=Locale.FR_CA)).decode()
        with closing(sqlite3.connect(self.directory / DATABASE_FILE)) as connection:
            connection.execute(MISREAD_TERMS, (misread,))
            connection.commit()

    def damage(self) -> None:
        """Overwrite the header of the database file."""
        with (self.directory / DATABASE_FILE).open("r+b") as file:
            file.write(bytes(100))

    async def put_back(self, image: Path, *, with_mark: bool) -> None:
        """Replace the files of the stopped agent by those of `image`, from before."""
        for name in (*WITHOUT_MARK, *((MARK_FILE,) if with_mark else ())):
            (self.directory / name).unlink(missing_ok=True)
            if (image / name).exists():
                shutil.copyfile(image / name, self.directory / name)

    def held(self) -> list[Held]:
        """Return the events in the database, in order."""
        with closing(sqlite3.connect(self.directory / DATABASE_FILE)) as connection:
            epochs = _epochs(connection)
            return [self._held(epochs, row) for row in connection.execute(HELD)]

    def epochs(self) -> set[str]:
        """Return the epochs in the database."""
        with closing(sqlite3.connect(self.directory / DATABASE_FILE)) as connection:
            return {known.epoch for known in _epochs(connection).ranges}

    def set_token(self, token: str) -> None:
        """Give the machine a token."""
        self.directory.mkdir(exist_ok=True)
        (self.directory / TOKEN_FILE).write_text(token)

    def _held(self, epochs: Epochs, row: tuple[Any, ...]) -> Held:
        position, body, name, is_pending, is_dead, is_discarded, has_address, error_code = row
        plain = decrypt_body(body, name, lambda: read_vault(self.directory / KEY_FILE))
        return Held(
            number_in(plain),
            epochs.receipt(position),
            bool(is_pending),
            bool(is_dead),
            bool(is_discarded),
            bool(has_address),
            error_code,
        )

    def _parse(self, request: Request) -> Capture | None:
        try:
            if request.is_answer:
                return parse_email_answer(request.correlation_id, request.body, check_syntax=True)
            return parse_session_start(request.body, ()).started
        except Refusal:
            return None

    def _connect(self) -> None:
        client = CentralClient(
            self.line, "http://central.example", _Token(self), lambda: datetime.now(UTC)
        )
        sender = Sender(*_names(self.name), self.boot_id, "1.0", self.clock)
        retries = ShortRetries(lambda: 0.5, _no_sleep)
        self.transport = BatchTransport(client, sender, retries, BATCH)
        self.answers = SessionAnswers(TERMS)
        self.terms = ProgramTermsSync(self.answers, self.outbox.access, self.clock.wall_us, "1.0")
        self.outbox_after_heartbeat = OutboxAfterHeartbeat(self.outbox, self._hear)
        self.heartbeats = HeartbeatLoop(
            client,
            sender,
            StoreReader(self.directory),
            self.outbox,
            self.terms,
            on_requeued=lambda: None,
            on_result=lambda _refusal: None,
            shared_name=SharedName(
                self.outbox.access, self.directory, self.boot_id, self.clock.wall_us
            ),
        )


@dataclass(frozen=True, slots=True)
class _Token:
    """The token in a file of the machine, read at each use."""

    machine: Machine

    async def headers(self, *, refused: object = None) -> dict[str, str]:
        return {"Authorization": f"Bearer {(self.machine.directory / TOKEN_FILE).read_text()}"}


def _names(name: AgentName) -> tuple[str, str]:
    return name.store_id, name.till_id


def _epochs(connection: sqlite3.Connection) -> Epochs:
    return read_epochs(connection)


async def _outcome(reply: Awaitable[Outcome]) -> Outcome | None:
    try:
        return await reply
    except StorageError:
        return None


async def _extract(place: Path, mark_position: int) -> None:
    extract(place, mark_position, lambda _seconds: None)


async def _erase(place: Path) -> None:
    erase_delivered(place, lambda _seconds: None)


async def _until_done(step: Callable[[], Awaitable[bool]]) -> None:
    while await step():
        pass


async def _no_sleep(_seconds: float) -> None: ...
