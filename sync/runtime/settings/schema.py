"""Base class of a program's settings."""

from typing import ClassVar

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict


class SettingsTree(BaseSettings):
    """All validated settings of a program; created by `load`.

    Constructed directly, it takes only its arguments and ignores the environment; then
    `storage.directory` is required.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", case_sensitive=True)

    program_name: ClassVar[str]

    @classmethod
    def environment_prefix(cls) -> str:
        """Return the prefix of the variables that override these settings."""
        return cls.program_name.upper().replace("-", "_") + "__"

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
