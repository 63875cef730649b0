"""The ledger's database: tables, statements, SQLite and PostgreSQL, migrations."""
