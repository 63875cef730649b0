"""How many events a request should hold, learned from what was too large."""


class BatchSize:
    """At most `most`; after a 413 half of what was too large, then slowly more again."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.events = most

    def was_too_large(self, events: int) -> None:
        """Learn that so many were too large; one event alone says nothing of the others."""
        if events > 1:
            self.events = min(self.events, events // 2)

    def took(self, events: int) -> None:
        """Learn that so many were not."""
        if events >= self.events:
            self.events = min(self._most, events + max(1, events // 16))
