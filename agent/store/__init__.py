"""The local database: what a till was promised is on the disk here, and leaves from here."""
