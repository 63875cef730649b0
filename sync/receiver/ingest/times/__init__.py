"""The times of events: by the clock of their boot, and corrected once that is known."""
