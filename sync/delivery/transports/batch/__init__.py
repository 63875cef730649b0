"""Protocol `batch`: many events in one request to our own receiver."""
