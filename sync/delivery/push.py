"""One pass: what waits is sent, window after window, and what central said is kept.

While one window is under way, the next one is read, and what became of the one before is
written. Nothing of that can lose or double an event: only what central confirmed is settled,
and a window whose settling was cut off is sent again, which central recognises.

After a failure the pass begins with a single event, the probe; the flood follows when it
got through.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, assert_never

from sync.delivery.outbox import Judged, Outbox, OutboxEvent, OutboxUnavailable, Portion, Window
from sync.delivery.outcomes import (
    Delivered,
    GoBack,
    Hold,
    Refused,
    Renumber,
    Stop,
    Trouble,
    TryLater,
)

PROBE = Portion(events=1, max_bytes=1)
# What central says about the numbers is followed this often in a pass. More would be a
# disagreement that no pass can end.
MOST_CORRECTIONS = 3
# A stop waits so long, at each of two places, for the disk to take what central has answered:
# with what the server takes before (`Door`, ANSWER_SECONDS) it is over within 5 s.
LEAVING_SECONDS = 0.5
_DISAGREEMENT = TryLater(
    Trouble.NO_PROGRESS, "central and this agent do not agree on the next number"
)


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a window.

    `judged` are the events that came to a verdict, `doubtful` those that were sent and of which
    it is unknown whether central has them: without a verdict, or refused before it could look.
    All others were not tried. `left` is why some stay though the pass may go on, `stop` why it
    may not.
    """

    judged: Sequence[Judged]
    doubtful: Sequence[OutboxEvent] = ()
    left: TryLater | None = None
    stop: Stop | None = None


class CutOff(asyncio.CancelledError):
    """Delivering a window was cancelled; `known` is what has become of it by then."""

    def __init__(self, known: Delivery) -> None:
        super().__init__()
        self.known = known


class Transport(Protocol):
    """Carries windows to central in one of the protocols."""

    @property
    def portion(self) -> Portion:
        """The most that a window should hold."""

    @property
    def leaves_doubt(self) -> bool:
        """Whether central may take a repeat for an error, so that attempts are to be noted."""

    async def deliver(self, window: Window, *, probing: bool) -> Delivery:
        """Carry `window` to central; a probe is tried once. Trouble is a value, never raised.

        Where central's answers so far must not be forgotten, a cancel ends it with `CutOff`.
        """


@dataclass(slots=True)
class PassReport:
    """What a pass did. `stop` is None when nothing was left to do."""

    delivered: int = 0
    assumed: int = 0
    refused: int = 0
    corrections: int = 0
    stop: Hold | TryLater | None = None

    @property
    def got_through(self) -> bool:
        """Whether central took or judged anything."""
        return bool(self.delivered or self.refused)


class Pace(Protocol):
    """Waits after a window of so many bytes, where more follow or none; not at full speed."""

    async def __call__(self, sent_bytes: int, *, more: bool) -> None:
        """Wait."""


Progress = Callable[[PassReport], None]


async def push_once(
    outbox: Outbox,
    transport: Transport,
    pace: Pace,
    *,
    probing: bool = False,
    progress: Progress = lambda _: None,
    may_go_on: Callable[[], bool] = lambda: True,
) -> PassReport:
    """Deliver what waits, as far as central takes it; return what was done.

    After each window `may_go_on` is asked; where it says no, the rest waits for another pass.

    Raises `OutboxUnavailable`; then, and when it is cancelled, nothing unconfirmed is settled.
    What central had answered before a cancel is.
    """
    return await _Pass(outbox, transport, pace, progress, may_go_on, probing=probing).run()


@dataclass(slots=True)
class _Pass:
    outbox: Outbox
    transport: Transport
    pace: Pace
    progress: Progress
    may_go_on: Callable[[], bool]
    probing: bool
    report: PassReport = field(default_factory=PassReport)
    settling: "asyncio.Task[None] | None" = None

    async def run(self) -> PassReport:
        try:
            # Dead letters first: they are few, and answers may wait for their session.
            if await self._flow(self.outbox.read_retries) or self._may_pass_retries_by():
                await self._flow(self.outbox.read)
            await self._settled()
        finally:
            await self._leave()
        return self.report

    def _may_pass_retries_by(self) -> bool:
        """Tell whether what waits may go where dead letters stumbled again: a probe of it first.

        Had they not been tried again, it would have gone, too.
        """
        self.probing = isinstance(self.report.stop, TryLater) and self.report.stop.is_open
        return self.probing

    async def _flow(self, read: "_Read") -> bool:
        """Send what `read` gives until there is no more; return whether that came to its end."""
        # What waits may belong to sessions that were dead letters until just now.
        await self._settled()
        window = await read(self._portion())
        while window.events:
            following, delivery = await self._deliver_reading_ahead(read, window)
            if delivery.left is not None:
                self.report.stop = delivery.left
            if delivery.stop is not None or following is None:
                after = await self._after(window, delivery)
                if after is None:
                    return False
                following = await read(self._portion(), after=after)
            await self.pace(_size(window), more=bool(following.events))
            if not self.may_go_on():
                return False
            window = following
        return True

    async def _deliver_reading_ahead(
        self, read: "_Read", window: Window
    ) -> tuple[Window | None, Delivery]:
        """Deliver `window`; meanwhile read the next one, where it does not depend on this one."""
        if self.probing:
            return None, await self._deliver(window)
        ahead = asyncio.ensure_future(read(self._portion(), after=_last(window)))
        try:
            delivery = await self._deliver(window)
            # Where events go one by one, what is refused or left decides on others of its session.
            if self.transport.leaves_doubt and not _is_all_delivered(window, delivery):
                return None, delivery
            return await ahead, delivery
        finally:
            ahead.cancel()

    async def _deliver(self, window: Window) -> Delivery:
        if self.transport.leaves_doubt:
            # One attempt is noted at a time: settling ends the one before.
            await self._settled()
            await self.outbox.note_attempt(window)
        try:
            delivery = await self.transport.deliver(window, probing=self.probing)
        except CutOff as cut:
            await self._leave()
            self._begin_settling(window, cut.known)
            raise
        await self._settled()
        self._begin_settling(window, delivery)
        self._count(delivery.judged)
        return delivery

    async def _after(self, window: Window, delivery: Delivery) -> int | None:
        """Do what was asked for instead of the next window; return after what to go on, or None."""
        await self._settled()
        match delivery.stop:
            case None:
                # A probe that is left without a verdict says nothing: the next one has to.
                self.probing = self.probing and not delivery.judged
                return _last(window)
            case GoBack(expected_sequence):
                return await self._go_back(window, expected_sequence)
            case Renumber(after_sequence):
                return await self._renumber(window.epoch, after_sequence)
            case Hold() | TryLater():
                self.report.stop = delivery.stop
                return None
            case _:
                assert_never(delivery.stop)

    async def _go_back(self, window: Window, expected_sequence: int) -> int | None:
        if self._may_correct():
            waits_anew = await self.outbox.rewind(window.epoch, expected_sequence)
            # A heartbeat may have had it wait again since the window was read.
            if waits_anew or expected_sequence < window.events[0].sequence:
                return 0
        self.report.stop = _DISAGREEMENT
        return None

    async def _renumber(self, epoch: str, after_sequence: int) -> int | None:
        if not self._may_correct():
            self.report.stop = _DISAGREEMENT
            return None
        await self.outbox.renumber(epoch, after_sequence)
        return 0

    def _may_correct(self) -> bool:
        self.report.corrections += 1
        return self.report.corrections <= MOST_CORRECTIONS

    def _begin_settling(self, window: Window, delivery: Delivery) -> None:
        self.settling = asyncio.ensure_future(
            self.outbox.settle(window, delivery.judged, delivery.doubtful)
        )

    async def _leave(self) -> None:
        """Have what became of the window before on the disk, unless that fails or takes long."""
        settling, self.settling = self.settling, None
        if settling is not None:
            with contextlib.suppress(OutboxUnavailable, TimeoutError):
                await asyncio.wait_for(settling, LEAVING_SECONDS)

    async def _settled(self) -> None:
        """Wait until what became of the window before is on the disk."""
        if self.settling is None:
            return
        # Unlike a bare await, it lets the settling go on when the pass is cancelled: see `_leave`.
        await asyncio.wait([self.settling])
        settling, self.settling = self.settling, None
        settling.result()

    def _portion(self) -> Portion:
        return PROBE if self.probing else self.transport.portion

    def _count(self, judged: Sequence[Judged]) -> None:
        for one in judged:
            match one.verdict:
                case Delivered(assumed):
                    self.report.delivered += 1
                    self.report.assumed += assumed
                case Refused():
                    self.report.refused += 1
                case _:
                    assert_never(one.verdict)
        self.progress(self.report)


class _Read(Protocol):
    async def __call__(self, portion: Portion, *, after: int = 0) -> Window: ...


def _last(window: Window) -> int:
    return window.events[-1].position


def _is_all_delivered(window: Window, delivery: Delivery) -> bool:
    delivered = sum(isinstance(one.verdict, Delivered) for one in delivery.judged)
    return delivered == len(window.events)


def _size(window: Window) -> int:
    return sum(len(event.body) for event in window.events)
