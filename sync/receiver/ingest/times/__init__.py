"""Times of events: skew correction by the clock of their boot, at once or later."""
