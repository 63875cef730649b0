"""What the settings of a program are made of: sections, under the program's name."""

from typing import ClassVar

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict


class SettingsTree(BaseSettings):
    """All settings of a program, checked; `load` makes it.

    Built by hand it takes exactly what it is given and looks at no environment;
    `storage` then needs its `directory`.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", case_sensitive=True)

    program_name: ClassVar[str]

    @classmethod
    def environment_prefix(cls) -> str:
        """Return what the variables that override these settings begin with."""
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
        """Take what is given and nothing from the process's own environment."""
        return (init_settings,)
