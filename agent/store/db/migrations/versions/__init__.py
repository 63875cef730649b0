"""One file a revision, never changed once released.

Only additions, so that the version before can still read what it needs.
"""
