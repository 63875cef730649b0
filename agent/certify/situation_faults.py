"""Injects the faults of the situation that is played, and records its requests."""

from agent.certify.situations import SaleLimits, Situation
from agent.sandbox.exchange import Exchange
from agent.sandbox.faults import Call, Fault


class SituationFaults:
    """The fault injector of a certification.

    A till may repeat a request of an earlier sale at any time: such a request gets no fault, and
    is recorded apart (`stale`).
    """

    def __init__(self, limits: SaleLimits) -> None:
        self._limits = limits
        self._situation: Situation | None = None
        self._earlier: set[str | None] = set()
        self.exchanges: list[Exchange] = []
        self.stale: list[Exchange] = []

    def begin(self, situation: Situation) -> None:
        """Begin a situation, with an empty record."""
        self._earlier |= {one.correlation_id for one in self.exchanges}
        self._situation = situation
        self.exchanges, self.stale = [], []

    def fault_for(self, exchange: Exchange) -> Fault | None:
        """Record a request; return its fault."""
        call = exchange.call
        if self._situation is None or call is Call.OTHER:
            return None
        if exchange.correlation_id in self._earlier:
            self.stale.append(exchange)
            return None
        earlier = sum(one.call is call for one in self.exchanges)
        self.exchanges.append(exchange)
        return self._situation.fault(call, earlier, self._limits)

    def on_end(self, exchange: Exchange) -> None:
        """Do nothing: the exchange was recorded when it began."""
