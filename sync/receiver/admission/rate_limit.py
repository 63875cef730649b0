"""Token bucket with a share per sender, and staggered Retry-After values. Pure, no I/O, no clock.

Times are seconds of a monotonic clock.
"""

import math
from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum, auto

# Bucket size: the events of one second need not be spread evenly.
BURST_SECONDS = 0.5
# Share of the rate that one sender gets while others send; alone it gets the whole.
SENDER_SHARE = 1 / 4
# A sender is alone if no other one has asked for this long.
ALONE_SECONDS = 1.0
# Float error of a clock difference; it must not round up to one more second.
_ROUNDING = 1e-6
_FEW = 1024


class RateDecision(Enum):
    """Result of asking for admission, with the cause of a refusal."""

    ADMITTED = auto()
    OVER_ITS_SHARE = auto()
    OVERLOADED = auto()


@dataclass(slots=True)
class _Account:
    """Amount that a sender has taken and not yet repaid at its own rate, as of `at`."""

    owed: float
    at: float


@dataclass(frozen=True, slots=True)
class Taken:
    """Amount of one admission: from the common bucket at once, and as a debt."""

    at_once: float
    debt: float


class FairTokenBucket:
    """Token bucket of `rate` per second; 0 means unlimited.

    Amounts are known only when they are taken, so a sender is admitted while it may take anything
    at all, and may overdraw: otherwise a batch larger than the bucket would never pass. Obvious:
    let the overdraft empty the common bucket. Then one sender's large batch turns all others away
    until it is repaid. Instead, a sender takes at most its share of a full bucket at once. The
    rest is its debt, which drains the bucket at the sender's share of the rate while it is repaid,
    and until then the sender is not admitted again. Only the largest debt is spread like this:
    smaller ones empty the bucket at once, so that many senders together keep to the rate.
    """

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self._sender_rate = rate * SENDER_SHARE
        self._burst = rate * BURST_SECONDS
        self._sender_burst = self._burst * SENDER_SHARE
        self._level = self._burst
        self._at = now
        self._debts: dict[Hashable, float] = {}
        self._accounts: dict[Hashable, _Account] = {}
        self._sweep_beyond = _FEW
        self._latest: Hashable = None
        self._latest_at = self._before_latest_at = -math.inf

    def __len__(self) -> int:
        """Return the number of senders that it remembers."""
        return len(self._accounts)

    def ask(self, sender: Hashable, now: float) -> RateDecision:
        """Return whether the sender may take anything now."""
        if not self.rate:
            return RateDecision.ADMITTED
        self._advance(now)
        self._note(sender, now)
        if self._wait_for_itself(sender, now) > 0:
            return RateDecision.OVER_ITS_SHARE
        if self._level <= 0:
            return RateDecision.OVERLOADED
        leaves_room = self._level >= self._needed(sender, now)
        return RateDecision.ADMITTED if leaves_room else RateDecision.OVER_ITS_SHARE

    def take(self, sender: Hashable, amount: float, now: float) -> Taken:
        """Take an amount, after `ask` has admitted the sender."""
        if not self.rate:
            return Taken(0, 0)
        self._advance(now)
        owed = self._owed(sender, now)
        at_once = min(amount, max(0.0, self._sender_burst - owed))
        taken = Taken(at_once, amount - at_once)
        self._level -= taken.at_once
        self._spread_largest(sender, taken.debt)
        self._accounts[sender] = _Account(owed + amount, now)
        self._forget_repaid(now)
        return taken

    def give_back(self, sender: Hashable, taken: Taken) -> None:
        """Return the amount of a failed request to the bucket; its sender's share stays used up."""
        in_debt = min(taken.debt, self._debts.pop(sender, 0.0))
        charged = taken.at_once + (0 if in_debt else taken.debt)
        self._level = min(self._burst, self._level + charged)

    def wait_seconds(self, sender: Hashable, now: float) -> float:
        """Return the seconds until a sender over its share is admitted."""
        # The level that it needs grows with what it has repaid by then, up to this.
        refill_seconds = self._refill_seconds(2 * self._sender_burst)
        return max(self._wait_for_itself(sender, now), refill_seconds)

    def refilled_at(self, now: float) -> float:
        """Return the time from which senders within their share are admitted, at the latest."""
        if not self.rate:
            return now
        self._advance(now)
        # Above 0: an empty bucket admits nobody.
        return now + self._refill_seconds(2 * _ROUNDING * self.rate)

    def _refill_seconds(self, level: float) -> float:
        """Return after how long the bucket has reached a level, at the latest."""
        missing = level - self._level
        left = self.rate - self._drain_rate()
        if missing <= 0 <= left:
            return 0.0
        after_all_debts = max(0.0, missing + sum(self._debts.values())) / self.rate
        return min(missing / left, after_all_debts) if left > 0 else after_all_debts

    def _spread_largest(self, sender: Hashable, debt: float) -> None:
        """Keep the largest debt; charge the others to the bucket at once."""
        debt += self._debts.pop(sender, 0.0)
        for other, theirs in list(self._debts.items()):
            if theirs >= debt:
                self._level -= debt
                return
            self._level -= theirs
            del self._debts[other]
        if debt:
            self._debts[sender] = debt

    def _note(self, sender: Hashable, now: float) -> None:
        if sender != self._latest:
            self._latest, self._before_latest_at = sender, self._latest_at
        self._latest_at = now

    def _rate_of(self, sender: Hashable, now: float) -> float:
        is_alone = sender == self._latest and self._before_latest_at < now - ALONE_SECONDS
        return self.rate if is_alone else self._sender_rate

    def _drain_rate(self) -> float:
        return sum(self._rate_of(sender, self._at) for sender in self._debts)

    def _advance(self, now: float) -> None:
        """Refill the bucket and let the debts drain it."""
        elapsed, self._at = now - self._at, now
        repaid = 0.0
        for sender, debt in list(self._debts.items()):
            part = min(debt, elapsed * self._rate_of(sender, now))
            repaid += part
            self._debts[sender] = debt - part
            if self._debts[sender] <= 0:
                del self._debts[sender]
        self._level = min(self._burst, self._level + elapsed * self.rate - repaid)

    def _owed(self, sender: Hashable, now: float) -> float:
        account = self._accounts.get(sender)
        if account is None:
            return 0.0
        return max(0.0, account.owed - (now - account.at) * self._rate_of(sender, now))

    def _wait_for_itself(self, sender: Hashable, now: float) -> float:
        excess = max(self._owed(sender, now) - self._sender_burst, self._debts.get(sender, 0))
        return excess / self._rate_of(sender, now) if excess > _ROUNDING * self.rate else 0.0

    def _needed(self, sender: Hashable, now: float) -> float:
        """Return the level at which another sender is still admitted after this one.

        A sender that has taken nothing lately is admitted at any level.
        """
        owed = self._owed(sender, now)
        at_once = max(0.0, self._sender_burst - owed)
        return at_once + self._sender_burst if owed else 0.0

    def _forget_repaid(self, now: float) -> None:
        """Bound the memory: forget the senders that owe nothing, when there are many."""
        if len(self._accounts) > self._sweep_beyond:
            self._accounts = {
                sender: account
                for sender, account in self._accounts.items()
                if account.owed > (now - account.at) * self._sender_rate
            }
            self._sweep_beyond = max(_FEW, 2 * len(self._accounts))


class RetryAfterAllocator:
    """Virtual queue: gives each rejected sender its own Retry-After.

    A slot is as long as serving one request takes, and expires with its time. Slots are not
    reserved: a caller that retries on time finds capacity because the others were sent to
    other times. A sender has one slot: asking again does not lengthen the queue.

    No slot lies beyond `longest_seconds`. When the queue is full, allocation wraps to its second
    half, so that the excess is spread too instead of all retrying in the last second.
    """

    def __init__(self, longest_seconds: float) -> None:
        self._longest = longest_seconds
        self._free_at = -math.inf
        self._slots: dict[Hashable, float] = {}
        self._sweep_beyond = _FEW

    def __len__(self) -> int:
        """Return the number of senders that it remembers."""
        return len(self._slots)

    def allocate(
        self,
        sender: Hashable,
        now: float,
        slot_seconds: float,
        not_before: float = -math.inf,
    ) -> int:
        """Return the whole seconds until the sender's slot starts, at least one.

        It keeps a slot that is still to come. `not_before` is the earliest time with capacity.
        """
        told = self._slots.get(sender, -math.inf)
        if told > now:
            return _whole_seconds(told - now)
        earliest = min(max(now, not_before), now + self._longest)
        wait_seconds = self._wrapped(max(self._free_at, earliest) - now)
        self._free_at = now + wait_seconds + slot_seconds
        seconds = _whole_seconds(wait_seconds)
        self._slots[sender] = now + seconds
        self._forget_past(now)
        return seconds

    def _wrapped(self, wait_seconds: float) -> float:
        if wait_seconds <= self._longest:
            return wait_seconds
        half = self._longest / 2
        return half + (wait_seconds - half) % half

    def _forget_past(self, now: float) -> None:
        if len(self._slots) > self._sweep_beyond:
            self._slots = {sender: at for sender, at in self._slots.items() if at > now}
            self._sweep_beyond = max(_FEW, 2 * len(self._slots))


def _whole_seconds(seconds: float) -> int:
    return max(1, math.ceil(seconds - _ROUNDING))
