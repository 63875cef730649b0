"""Audit logs for tests: at a fixed time, by a given author."""

from uuid import uuid4

from sync.receiver.audit.audit_log import AuditLog
from sync.receiver.audit.author import Author
from tests.support.head_office.messages import AT

TESTER = Author("tester", "test")


def audit_by(author: Author = TESTER) -> AuditLog:
    """Return an audit log of the actions of `author`."""
    return AuditLog(author, lambda: AT, lambda: uuid4().hex)
