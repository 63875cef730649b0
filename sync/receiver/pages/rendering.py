"""HTML rendering with Jinja templates; autoescaping is on."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from sync.receiver.pages import urls
from sync.receiver.pages.i18n import Language, languages

# Only our own files may be loaded, run or sent to; no inline scripts or styles.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class Templates:
    """The Jinja templates beside this file."""

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
            store_url=urls.store_url,
            fleet_url=urls.fleet_url,
            history_url=urls.history_url,
            session_url=urls.session_url,
            format_time=format_time,
            languages=languages(),
        )

    def render(self, name: str, t: Language, values: Mapping[str, object]) -> str:
        """Render a template with `values` as its variables; `t` translates its messages."""
        return self._environment.get_template(name).render(t=t, **values)


def format_time(at: datetime) -> str:
    """Format a timestamp in UTC, to the second: 2026-01-31 12:00:00."""
    return at.replace(tzinfo=None).isoformat(sep=" ", timespec="seconds")
