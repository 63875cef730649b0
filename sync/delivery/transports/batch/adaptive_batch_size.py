"""Adapts the batch size to head office's limits."""


class BatchSize:
    """Batch size in events, up to `most`: halved after a 413, then increased slowly."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.events = most

    def was_too_large(self, events: int) -> None:
        """Halve the size after a refused batch; a single event is no evidence for others."""
        if events > 1:
            self.events = min(self.events, events // 2)

    def took(self, events: int) -> None:
        """Increase the size after an accepted batch of full size."""
        if events >= self.events:
            self.events = min(self._most, events + max(1, events // 16))
