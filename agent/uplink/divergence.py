"""Makes agent and head office agree again, after either one was restored from a backup.

The answer to a heartbeat tells where the ledger at head office ends for each epoch:

- head office lost events that the agent settled: rewind the delivery cursor and send them again;
- the agent lost numbers that head office has accepted: start a new epoch, so that no number is
  used twice;
- head office has events as rejected that the agent delivered: send those again.
"""

import logging
from collections.abc import Callable

from agent.store.outbox.outbox import StoreOutbox
from agent.store.queries.reader import StoreReader
from agent.store.queries.status import StorageStatus
from sync.protocol.wire import AHEAD, EpochSequence, HeartbeatAnswer
from sync.runtime.logging import log_event

_log = logging.getLogger(__name__)


class Divergence:
    """Acts on what answers show. Not thread-safe; event loop only.

    `on_requeued` is called after events were returned to the outbox. `rejected_after`: the last
    event that head office has listed as rejected, for the next heartbeat to ask for those after it.
    """

    def __init__(
        self, outbox: StoreOutbox, reader: StoreReader, on_requeued: Callable[[], None]
    ) -> None:
        self.rejected_after: EpochSequence | None = None
        self._outbox = outbox
        self._reader = reader
        self._on_requeued = on_requeued

    async def repair(self, answer: HeartbeatAnswer, sent: StorageStatus) -> None:
        """Act on the answer to a heartbeat that reported the state `sent`."""
        await self._rewind_lost(answer, sent)
        await self._start_new_epoch(answer)
        await self._resend_rejected(answer)

    async def _rewind_lost(self, answer: HeartbeatAnswer, sent: StorageStatus) -> None:
        """Rewind the delivery cursor where head office lacks events that are settled here.

        Compares with the state read before the heartbeat was sent: events settled since then
        may not be included in the answer.
        """
        settled = {known.epoch: known.settled_through for known in sent.epochs}
        for theirs in answer.epochs:
            lacks_some = theirs.accepted_through < settled.get(theirs.epoch, 0)
            if lacks_some and await self._outbox.rewind(theirs.epoch, theirs.accepted_through + 1):
                log_event(
                    _log,
                    logging.WARNING,
                    "delivery.rewound",
                    epoch=theirs.epoch,
                    settled_through=settled[theirs.epoch],
                    accepted_through=theirs.accepted_through,
                )
                self._on_requeued()

    async def _start_new_epoch(self, answer: HeartbeatAnswer) -> None:
        """Start a new epoch if head office has accepted numbers that this store does not have.

        Compares with the state read after the answer arrived: an event is stored here before it
        is sent, so a higher number at head office proves that this database is an older copy.
        """
        ours = (await self._outbox.access.read_hot(self._reader.status_on)).current
        for theirs in answer.epochs:
            if theirs.epoch != ours.epoch or theirs.accepted_through <= ours.last_sequence:
                continue
            if not await self._outbox.renumber(ours.epoch, ours.settled_through, AHEAD):
                return
            log_event(
                _log,
                logging.WARNING,
                "delivery.epoch_started",
                epoch=ours.epoch,
                last_sequence=ours.last_sequence,
                accepted_through=theirs.accepted_through,
            )
            self._on_requeued()

    async def _resend_rejected(self, answer: HeartbeatAnswer) -> None:
        """Send again the events that head office lists as rejected though they were delivered.

        Head office was restored to a backup in which they are still rejected; its positions do
        not show that. An event delivered during the heartbeat may be sent once more; head
        office recognizes it as a duplicate.
        """
        self.rejected_after = answer.rejected[-1] if answer.rejected else None
        rejected: dict[str, list[int]] = {}
        for one in answer.rejected:
            rejected.setdefault(one.epoch, []).append(one.sequence)
        for epoch, sequences in rejected.items():
            count = await self._outbox.dead_letters.retry_delivered(epoch, sequences)
            if count:
                log_event(
                    _log, logging.WARNING, "delivery.rejected_resent", epoch=epoch, events=count
                )
                self._on_requeued()
