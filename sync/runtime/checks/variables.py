"""Check of the environment: variables that are nearly those of a setting."""

from collections.abc import Mapping

from sync.runtime.checks.check import Check, warning
from sync.runtime.settings.near_misses import find_near_misses
from sync.runtime.settings.schema import SettingsTree


def check_variables(model: type[SettingsTree], environ: Mapping[str, str]) -> list[Check]:
    """Return a warning about variables that nothing reads; nothing if there are none."""
    if near := [*find_near_misses(model, environ)]:
        found = "; ".join(map(str, near))
        return [warning("variables", found, "rename or remove them: no program reads them")]
    return []
