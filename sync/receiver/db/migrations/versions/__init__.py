"""One file for each revision, never changed once released.

Migrations only add, so that the previous agent version can still read the file.
"""
