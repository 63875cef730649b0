"""The rules for what a till may send and what it is answered: pure, no I/O, no clock."""
