"""How long a test waits for what has to happen."""

# Ends a test that hangs. A machine with much to do is slow, and no test fails for that.
PATIENCE_SECONDS = 120.0
