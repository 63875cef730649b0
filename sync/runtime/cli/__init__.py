"""Command-line frame of both programs: lazy command group, exit codes, error handling, output."""
