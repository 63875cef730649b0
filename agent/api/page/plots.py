"""The last 24 hours as plots (SVG without styles, whose policy allows none) and as a table."""

from html import escape

from agent.api.page.markup import table
from agent.api.responses import timestamp
from agent.store.queries.day import HOURS, MAX_ROWS, Day
from sync.runtime.i18n import Language

_WIDTH, _HEIGHT, _GAP = 10, 100, 2
_AXIS = (0, 8, 16, HOURS - 1)


def day_part(day: Day | None, say: Language) -> str:
    """Return the heading, three plots and their table; empty if the store cannot be read."""
    if day is None:
        return ""
    plots = (
        _plot("captured", day.captured, _flow("captured", day.captured, say), day, say)
        + _plot("delivered", day.delivered, _flow("delivered", day.delivered, say), day, say)
        + _plot("waiting", day.waiting, _level("waiting", day.waiting, say), day, say)
    )
    note = f"<p>{escape(say('page.partial', count=say.number(MAX_ROWS)))}</p>"
    return (
        f"<h2>{escape(say('page.day'))}</h2>{note if day.is_partial else ''}"
        f'<div class="day">{plots}</div>'
        f'<details id="hours"><summary id="hours-summary">{escape(say("page.hours_table"))}'
        f"</summary>{_table(day, say)}</details>"
    )


def _flow(name: str, counts: list[int], say: Language) -> str:
    total, most = say.number(sum(counts)), say.number(max(counts))
    return say("page.plot_flow", name=say(f"page.{name}"), total=total, most=most)


def _level(name: str, counts: list[int], say: Language) -> str:
    last, most = say.number(counts[-1]), say.number(max(counts))
    return say("page.plot_level", name=say(f"page.{name}"), last=last, most=most)


def _plot(name: str, counts: list[int], description: str, day: Day, say: Language) -> str:
    """Return bars as high as their count, the highest the full height; at least one unit if any."""
    most = max(counts)
    heights = [0 if not count else max(count * _HEIGHT // most, 1) for count in counts]
    bars = "".join(
        f'<rect x="{hour * _WIDTH}" y="{_HEIGHT - height}" width="{_WIDTH - _GAP}"'
        f' height="{height}"/>'
        for hour, height in enumerate(heights)
        if height
    )
    title, _, figures = description.partition(say("page.colon"))
    axis = "".join(f"<span>{_hour(day.starts_us[hour])}</span>" for hour in _AXIS)
    return (
        f'<figure class="{name}"><figcaption>{escape(title)}<span>{escape(figures)}</span>'
        f'</figcaption><svg role="img" aria-label="{escape(description)}"'
        f' viewBox="0 0 {HOURS * _WIDTH} {_HEIGHT}" preserveAspectRatio="none">{bars}</svg>'
        f'<p class="axis" aria-hidden="true">{axis}</p></figure>'
    )


def _hour(at_us: int) -> str:
    at = timestamp(at_us)
    return f'<time datetime="{at}" data-hour>{at[11:16]}</time>'


def _table(day: Day, say: Language) -> str:
    columns = [say(f"page.{name}") for name in ("hour", "captured", "delivered", "waiting")]
    counts = zip(day.starts_us, day.captured, day.delivered, day.waiting, strict=True)
    rows = [[_hour(at_us), *(say.number(count) for count in of_hour)] for at_us, *of_hour in counts]
    return table(say("page.hours_table"), columns, rows[::-1], "hours")
