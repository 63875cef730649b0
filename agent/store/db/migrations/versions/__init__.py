"""One module per revision; never change a released one.

Migrations only add, so that the previous version can still read the database.
"""
