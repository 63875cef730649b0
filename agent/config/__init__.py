"""Configuration of the agent: read from TOML and the environment, and validated.

Reads the configuration file and, on request, the secret files; writes nothing.
"""

from agent.config.settings import ACCESS, SERVICE, Settings, load_settings
from sync.runtime.settings.load import changed_settings
from sync.runtime.settings.secret_files import (
    check_files,
    read_secret,
    serving_tls,
)
from sync.runtime.settings.setting_errors import ConfigurationError, SettingError

__all__ = [
    "ACCESS",
    "SERVICE",
    "ConfigurationError",
    "SettingError",
    "Settings",
    "changed_settings",
    "check_files",
    "load_settings",
    "read_secret",
    "serving_tls",
]
