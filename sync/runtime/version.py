"""Which version of the package this is; the agent and the receiver come in one."""

import importlib.metadata
import tomllib
from pathlib import Path

_DISTRIBUTION = "loyalty-agent"


def installed_version() -> str:
    """Return the version of the installed package, or of the source tree it runs from."""
    try:
        return importlib.metadata.version(_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        project = Path(__file__).parents[2] / "pyproject.toml"
        return str(tomllib.loads(project.read_text("utf-8"))["project"]["version"])
