"""The history of the schema: Alembic migrations, run forward when the agent starts."""
