"""Take a bundle into the ledger, batch by batch, as if its till had sent it.

Idempotent: what is here already has no effect, so that an interrupted import is repeated.
"""

import hmac
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import assert_never

from sqlalchemy import Connection

from sync.protocol.bundle.contents import proof_of
from sync.protocol.bundle.sealing import BundleError
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
    """What became of the events of one epoch.

    `rejected` events are recorded with their code; `refused` ones are not here at all, also by
    code. `expected`: the first number that is missing before the refused ones.
    """

    taken: int = 0
    already_here: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    accepted_through: int = 0
    expected: int | None = None

    def add(self, batch: AcceptedBatch, events: int) -> None:
        """Count an accepted batch."""
        taken = len(batch.sessions) + len(batch.answers)
        self.taken += taken
        self.rejected.update(one.error_code for one in batch.rejections)
        self.already_here += events - taken - len(batch.rejections)
        self.accepted_through = max(self.accepted_through, batch.accepted_through)


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of a bundle, by epoch in its order. `is_proven`: by the till's token."""

    is_proven: bool
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


@dataclass(frozen=True, slots=True)
class BundleImport:
    """Imports bundles into a ledger. `show` gets the number of events that remain."""

    database: Database
    ledger: Ledger
    audit: AuditLog
    now: Callable[[], datetime]
    show: Callable[[int], None]

    async def take(
        self, bundle: BundleFile, events: int, *, file_name: str, accept_unproven: bool
    ) -> ImportReport:
        """Take a verified bundle of this many events.

        Raises `BundleError` before anything is taken if it is not the till's, or the till is not
        enrolled; later if the file is no longer the one that was verified. Raises `HttpError` or
        `MalformedBatch` for a batch that no agent sends.
        """
        sender, is_proven = await self.database.read(partial(_sender_of, bundle=bundle))
        if not (is_proven or accept_unproven):
            raise BundleError(
                f"nothing proves that {_named(bundle)} wrote it: it has no proof of a token that is"
                " valid for this till now. If you know where it comes from, use --unproven"
            )
        await self._record(bundle, events, file_name, is_proven=is_proven)
        report = ImportReport(is_proven)
        await self.ledger.store_carried_head(sender, bundle.head, self.now())
        parsed = (self._parse(body, sender) for body in bundle.batches())
        async with aclosing(read_ahead(joined(parsed))) as batches:
            async for inbound in batches:
                await self._take_batch(inbound, report)
                events -= len(inbound.events)
                self.show(max(events, 0))
        return report

    async def _record(
        self, bundle: BundleFile, events: int, file_name: str, *, is_proven: bool
    ) -> None:
        """Record the import, before its first event: an interrupted one counts too."""
        detail: dict[str, str | int] = {
            "file": file_name,
            "events": events,
            "written_at": bundle.head.written_at,
            "proven": "yes" if is_proven else "no",
        }
        await self.database.write(
            lambda connection: self.audit.record(connection, Action.IMPORT, bundle.name, **detail)
        )

    def _parse(self, body: bytes, sender: EnrolledAgent) -> InboundBatch:
        inbound = replace(parse_batch(body, sender, self.now()), is_carried=True)
        check_sender(sender, inbound.batch.store_id, inbound.batch.till_id)
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


def _sender_of(connection: Connection, bundle: BundleFile) -> tuple[EnrolledAgent, bool]:
    """Return the till that the bundle names, and whether the bundle has the proof of its token."""
    name, head = bundle.name, bundle.head
    tokens = connection.execute(SELECT_TOKENS, params_for(name)).mappings().all()
    if not tokens:
        raise BundleError(f"{_named(bundle)} is not enrolled here, or was revoked")
    for token in tokens:
        proof = proof_of(head.content_key, name.store_id, name.till_id, token["token_hash"])
        if hmac.compare_digest(proof, head.proof):
            return EnrolledAgent(name, token["enrolled_at"]), True
    return EnrolledAgent(name, tokens[-1]["enrolled_at"]), False
