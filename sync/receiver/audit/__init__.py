"""Audit log of head office: actions with their author and origin."""
