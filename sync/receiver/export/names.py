"""What can be exported, and as what."""

from enum import StrEnum


class Exported(StrEnum):
    """The tables that head office reads."""

    SESSIONS = "sessions"
    EMAIL_ANSWERS = "email_answers"
    REJECTIONS = "rejections"
    DOUBLES = "doubles"
    GAPS = "gaps"
    AGENTS = "agents"


class Format(StrEnum):
    """What a table can be written as."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"
