"""Version of the package, which contains both the agent and the receiver."""

import importlib.metadata
import tomllib
from pathlib import Path

_DISTRIBUTION = "loyalty-agent"


def installed_version() -> str:
    """Return the version of the installed package, else that in pyproject.toml."""
    try:
        return importlib.metadata.version(_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        project = Path(__file__).parents[2] / "pyproject.toml"
        return str(tomllib.loads(project.read_text("utf-8"))["project"]["version"])
