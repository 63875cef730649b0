"""The configuration: what an operator can set, read from TOML and the environment, and checked.

Nothing here touches the disk beyond reading the configuration file, and the secret
files when asked to.
"""

from agent.config.load import load_settings
from agent.config.settings import Settings
from sync.runtime.settings.load import changed_settings
from sync.runtime.settings.secret_files import check_files, read_secret, serving_tls
from sync.runtime.settings.setting_errors import ConfigurationError, Mistake

__all__ = [
    "ConfigurationError",
    "Mistake",
    "Settings",
    "changed_settings",
    "check_files",
    "load_settings",
    "read_secret",
    "serving_tls",
]
