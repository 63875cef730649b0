"""The ledger's tables, as of the newest migration.

Every primary key starts with `store_id`; there are no database-generated numbers and no
references between stores, so that the tables can be sharded by `store_id`.

Invariant: each number of an epoch up to `agents.accepted_through` is in exactly one of
`sessions`, `email_answers`, `rejections`, `duplicates` and `gaps`, until it is purged
(`agents.purged_through`; rejections and gaps are never purged) and its digest is kept. One
exception: an answer whose address is permanently lost is in `email_answers` and in `gaps`.
"""

from sync.receiver.db.tables.base import LedgerTable, table_of
from sync.receiver.db.tables.captures import (
    DuplicateRecord,
    EmailAnswerRecord,
    GapRecord,
    PurgedDigestsRecord,
    RejectionRecord,
    SessionRecord,
    UncertainTimeRecord,
)
from sync.receiver.db.tables.head_office import (
    AuditRecord,
    AuthorityRecord,
    HourRecord,
    ReaderSessionRecord,
)
from sync.receiver.db.tables.tills import AgentRecord, BootRecord, JoinCodeRecord, TokenRecord

__all__ = [
    "AgentRecord",
    "AuditRecord",
    "AuthorityRecord",
    "BootRecord",
    "DuplicateRecord",
    "EmailAnswerRecord",
    "GapRecord",
    "HourRecord",
    "JoinCodeRecord",
    "LedgerTable",
    "PurgedDigestsRecord",
    "ReaderSessionRecord",
    "RejectionRecord",
    "SessionRecord",
    "TokenRecord",
    "UncertainTimeRecord",
    "agents",
    "answers",
    "audit_log",
    "authorities",
    "boots",
    "duplicates",
    "gaps",
    "hours",
    "join_codes",
    "purged_digests",
    "reader_sessions",
    "rejections",
    "sessions",
    "table_of",
    "tokens",
    "uncertain_times",
]

tokens, agents, boots = table_of(TokenRecord), table_of(AgentRecord), table_of(BootRecord)
sessions, answers = table_of(SessionRecord), table_of(EmailAnswerRecord)
rejections, duplicates = table_of(RejectionRecord), table_of(DuplicateRecord)
gaps, hours = table_of(GapRecord), table_of(HourRecord)
purged_digests = table_of(PurgedDigestsRecord)
uncertain_times = table_of(UncertainTimeRecord)
audit_log = table_of(AuditRecord)
reader_sessions = table_of(ReaderSessionRecord)
join_codes, authorities = table_of(JoinCodeRecord), table_of(AuthorityRecord)
