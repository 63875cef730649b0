"""Take a bundle into the ledger, batch by batch, as if its till had sent it.

Idempotent: what is here already has no effect, so that an interrupted import is repeated.
"""

import asyncio
import hmac
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import NamedTuple, assert_never

from sqlalchemy import Connection

from sync.protocol.bundle.contents import malformed, proof_of
from sync.protocol.bundle.sealing import BundleError
from sync.protocol.rfc3339 import to_rfc3339
from sync.protocol.wire import ErrorCode
from sync.receiver.audit.audit_log import Action, AuditLog
from sync.receiver.auth.authenticate import check_sender
from sync.receiver.auth.token_rows import SELECT_TOKENS
from sync.receiver.auth.tokens import EnrolledAgent
from sync.receiver.carried.bundle_file import BundleFile
from sync.receiver.carried.large_batches import joined, read_ahead
from sync.receiver.db.conditions import params_for
from sync.receiver.db.database import Database
from sync.receiver.ingest.agent_transaction import TooManyEpochs
from sync.receiver.ingest.ledger import Ledger
from sync.receiver.ingest.ledger_state import AcceptedBatch
from sync.receiver.ingest.parse import InboundBatch, parse_batch
from sync.receiver.ingest.placement import SequenceGap


@dataclass(slots=True)
class EpochReport:
    """Counts of the events of one epoch, by outcome.

    `rejected` events are recorded with their code; `refused` ones are not here at all, also by
    code. `expected`: the first number that is missing before the refused ones.
    """

    taken: int = 0
    already_here: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    accepted_through: int = 0
    expected: int | None = None

    @property
    def events(self) -> int:
        """The number of all of them."""
        stored = self.taken + self.already_here
        return stored + self.rejected.total() + self.refused.total()

    def add(self, batch: AcceptedBatch, events: int) -> None:
        """Count an accepted batch."""
        taken = len(batch.sessions) + len(batch.answers)
        self.taken += taken
        self.rejected.update(one.error_code for one in batch.rejections)
        self.already_here += events - taken - len(batch.rejections)
        self.accepted_through = max(self.accepted_through, batch.accepted_through)


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of a bundle so far, by epoch in its order."""

    epochs: dict[str, EpochReport] = field(default_factory=dict)

    @property
    def total(self) -> EpochReport:
        """The counts of all epochs."""
        total = EpochReport()
        for one in self.epochs.values():
            total.taken += one.taken
            total.already_here += one.already_here
            total.rejected.update(one.rejected)
            total.refused.update(one.refused)
        return total

    @property
    def is_whole(self) -> bool:
        """Return whether no event was rejected or refused."""
        return not any(one.rejected or one.refused for one in self.epochs.values())


class Origin(NamedTuple):
    """The till that a bundle names, and whether the bundle has the proof of its token."""

    sender: EnrolledAgent
    is_proven: bool


@dataclass(frozen=True, slots=True)
class BundleImport:
    """Imports bundles into a ledger."""

    database: Database
    ledger: Ledger
    audit: AuditLog
    now: Callable[[], datetime]

    async def origin(self, bundle: BundleFile, *, accept_unproven: bool) -> Origin:
        """Return the till that wrote the bundle; reads only its head.

        Raises `BundleError` if nothing proves that, or the till is not enrolled.
        """
        origin = await self.database.read(partial(_origin_of, bundle=bundle))
        if not (origin.is_proven or accept_unproven):
            raise BundleError(
                f"nothing proves that {_named(bundle)} wrote it: it has no proof of a token that is"
                " valid for this till now. If you know where it comes from, use --unproven"
            )
        return origin

    async def take(
        self,
        bundle: BundleFile,
        origin: Origin,
        file_name: str,
        report: ImportReport,
        show: Callable[[int], None],
    ) -> None:
        """Verify a bundle, take its events, and count them in `report` as they are stored.

        `show` gets the number of events that remain. Raises `BundleError` before anything is taken
        if the file is damaged; later if it is no longer the one that was verified. Raises
        `HttpError` or `MalformedBatch` for a batch that no agent sends.
        """
        remaining = await asyncio.to_thread(bundle.verify)
        await self._record(bundle, remaining, file_name, is_proven=origin.is_proven)
        await self.ledger.store_carried_head(origin.sender, bundle.head, self.now())
        show(remaining)
        parsed = ((self._parse(body, origin.sender), len(body)) for body in bundle.batches())
        async with aclosing(read_ahead(joined(parsed))) as batches:
            async for inbound in batches:
                await self._take_batch(inbound, report)
                remaining -= len(inbound.events)
                show(max(remaining, 0))

    async def _record(
        self, bundle: BundleFile, events: int, file_name: str, *, is_proven: bool
    ) -> None:
        """Record the import, before its first event: an interrupted one counts too."""
        detail: dict[str, str | int] = {
            "file": file_name,
            "events": events,
            "written_at": to_rfc3339(bundle.written_at, "milliseconds"),
            "proven": "yes" if is_proven else "no",
        }
        await self.database.write(
            lambda connection: self.audit.record(connection, Action.IMPORT, bundle.name, **detail)
        )

    def _parse(self, body: bytes, sender: EnrolledAgent) -> InboundBatch:
        inbound = replace(parse_batch(body, sender, self.now()), is_carried=True)
        check_sender(sender, inbound.batch.store_id, inbound.batch.till_id)
        if not inbound.events:
            raise malformed("it has a batch without captures")
        return inbound

    async def _take_batch(self, inbound: InboundBatch, report: ImportReport) -> None:
        events = len(inbound.events)
        epoch = report.epochs.setdefault(inbound.batch.epoch, EpochReport())
        match outcome := await self.ledger.store_batch(inbound):
            case AcceptedBatch():
                epoch.add(outcome, events)
            case SequenceGap(expected):
                epoch.refused[ErrorCode.SEQUENCE_GAP] += events
                epoch.expected = epoch.expected or expected
            case TooManyEpochs():
                epoch.refused[ErrorCode.TOO_MANY_EPOCHS] += events
            case _:
                assert_never(outcome)


def _named(bundle: BundleFile) -> str:
    return f"{bundle.name.store_id}/{bundle.name.till_id}"


def _origin_of(connection: Connection, bundle: BundleFile) -> Origin:
    name, head = bundle.name, bundle.head
    tokens = connection.execute(SELECT_TOKENS, params_for(name)).mappings().all()
    if not tokens:
        raise BundleError(f"{_named(bundle)} is not enrolled here, or was revoked")
    for token in tokens:
        proof = proof_of(head.content_key, name.store_id, name.till_id, token["token_hash"])
        if hmac.compare_digest(proof, head.proof):
            return Origin(EnrolledAgent(name, token["enrolled_at"]), is_proven=True)
    return Origin(EnrolledAgent(name, tokens[-1]["enrolled_at"]), is_proven=False)
