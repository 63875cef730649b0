"""Director of a certification's sandbox: faults of the situation, and a record of the wire."""

from agent.certify.situations import Limits, Situation
from agent.sandbox.exchange import Exchange
from agent.sandbox.faults import Call, Fault


class Stage:
    """Knows the situation that is being played.

    A till may repeat a request of an earlier sale at any time: such a request gets no fault, and
    is kept apart.
    """

    def __init__(self, limits: Limits) -> None:
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
        """Note a request; return its fault."""
        call = exchange.call
        if self._situation is None or call is Call.OTHER:
            return None
        if exchange.correlation_id in self._earlier:
            self.stale.append(exchange)
            return None
        earlier = sum(one.call is call for one in self.exchanges)
        self.exchanges.append(exchange)
        return self._situation.fault(call, earlier, self._limits)

    def saw(self, exchange: Exchange) -> None:
        """Do nothing: the exchange was noted when it began."""
