"""Load the configuration of the agent."""

from collections.abc import Mapping
from pathlib import Path

from agent.config.settings import Settings
from sync.runtime.settings.load import load


def load_settings(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Return the settings from the file at `path` and the environment; raises as `load` does."""
    return load(Settings, path, environ)
