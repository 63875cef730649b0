"""A whole shop for end-to-end tests, and the comparison of both ends."""
