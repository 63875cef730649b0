"""The local SQLite database of the till: every acknowledged capture is on disk here."""
