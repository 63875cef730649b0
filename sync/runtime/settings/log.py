"""Settings of the log."""

from enum import StrEnum

from pydantic import Field

from sync.runtime.settings.section import Section


class LogLevel(StrEnum):
    """Lowest level that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """Format of log lines."""

    TEXT = "text"
    JSON = "json"


class LogSettings(Section):
    """Section `[log]`."""

    level: LogLevel = Field(LogLevel.INFO, description="debug, info, warning or error")
    format: LogFormat = Field(LogFormat.TEXT, description="text or json")
