"""Rules for requests from tills and the answers to them. Pure: no I/O, no clock."""
