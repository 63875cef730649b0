"""Schema history: Alembic migrations, applied at start, forward only."""
