"""Parts of every program's settings: base classes, validation across settings, section `[log]`."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

CONTRADICTION = "contradiction"


class Section(BaseModel):
    """A table of the configuration file. Frozen; unknown keys are an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def contradiction(found: dict[str, str]) -> PydanticCustomError:
    """Return the error for settings that are valid one by one but not together.

    `found` maps each setting to change (its name in the section, or the dotted name in the tree)
    to a message. One error carries all of them: pydantic accepts only one from each validator.
    """
    return PydanticCustomError(CONTRADICTION, "settings contradict each other", {"found": found})


class SettingsTree(BaseSettings):
    """All validated settings of a program; created by `load`.

    Constructed directly, it takes only its arguments and ignores the environment; then
    `storage.directory` is required.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", case_sensitive=True)

    program_name: ClassVar[str]

    @property
    def storage_directory(self) -> Path:
        """The directory of the program's state; each program has this setting."""
        directory: Path = self.storage.directory  # type: ignore[attr-defined]
        return directory

    @classmethod
    def environment_prefix(cls) -> str:
        """Return the prefix of the variables that override these settings."""
        return cls.program_name.upper().replace("-", "_") + "__"

    @classmethod
    def own_variables(cls, environ: Mapping[str, str]) -> dict[str, str]:
        """Return the variables that override these settings."""
        prefix = cls.environment_prefix()
        return {name: text for name, text in environ.items() if name.upper().startswith(prefix)}

    @classmethod
    def other_variables(cls, environ: Mapping[str, str]) -> dict[str, str]:
        """Return all other variables."""
        own = cls.own_variables(environ)
        return {name: text for name, text in environ.items() if name not in own}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is the library's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Use the constructor's arguments only, never the process environment."""
        return (init_settings,)


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
