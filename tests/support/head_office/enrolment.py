"""Enrolls a single agent, as tests need it; the product enrolls lists."""

from datetime import datetime

from sync.receiver.auth.enrolment import Enrolment
from sync.receiver.auth.tokens import AgentName
from tests.support.head_office.audit import audit_by
from tests.support.head_office.messages import AT


async def issue_token(
    enrolment: Enrolment, name: AgentName, secret: bytes, at: datetime = AT
) -> str:
    """Return a new token for one agent."""
    (token,) = await enrolment.enroll([(name, secret)], at, audit_by())
    return token
