"""The SQLite file: connection, tables, epochs, delivery cursor, migrations."""
