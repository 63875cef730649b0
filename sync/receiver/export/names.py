"""Exportable tables and file formats."""

from enum import StrEnum


class Exported(StrEnum):
    """Tables that can be exported."""

    SESSIONS = "sessions"
    EMAIL_ANSWERS = "email_answers"
    REJECTIONS = "rejections"
    DUPLICATES = "duplicates"
    GAPS = "gaps"
    AGENTS = "agents"


class Format(StrEnum):
    """File formats."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"
