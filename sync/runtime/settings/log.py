"""The settings of the log."""

from enum import StrEnum

from pydantic import Field

from sync.runtime.settings.section import Section


class LogLevel(StrEnum):
    """The least that is worth a line in the log."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How a line of the log is written."""

    TEXT = "text"
    JSON = "json"


class LogSettings(Section):
    """What the log holds and looks like."""

    level: LogLevel = Field(LogLevel.INFO, description="debug, info, warning or error")
    format: LogFormat = Field(LogFormat.TEXT, description="text or json")
