"""Audit log of head office: who did what, from where."""
