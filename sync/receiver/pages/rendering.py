"""Makes HTML of what was read, in the reader's language. Whatever is shown is escaped."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from sync.receiver.pages import urls as questions
from sync.receiver.pages.i18n import Language, languages

# Nothing but our own files is loaded, run or sent to; nothing stands within the page.
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class Templates:
    """The templates beside this file."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.globals.update(
            address=questions.address,
            fleet_address=questions.fleet_address,
            history_address=questions.history_address,
            session_address=questions.session_address,
            moment=written,
            languages=languages(),
        )

    def render(self, name: str, say: Language, values: Mapping[str, object]) -> str:
        """Return the page; `values` are known in it by their names."""
        return self._environment.get_template(name).render(say=say, **values)


def written(at: datetime) -> str:
    """Write a moment in UTC as people do, to the second: 2026-01-31 12:00:00."""
    return at.replace(tzinfo=None).isoformat(sep=" ", timespec="seconds")
