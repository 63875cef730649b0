"""Description of an export: its time, its rows, and the tills that it cannot speak for.

A CSV file has no place for it, so it stands in a file beside the export, and on standard error.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from sqlalchemy import RowMapping

from sync.receiver.cli.output import output_to
from sync.receiver.cli.reporting.as_of import as_of
from sync.receiver.export.formats import Format
from sync.receiver.export.selection import Selection
from sync.receiver.reports.completeness.report import Scope
from sync.receiver.reports.unheard import Unheard
from sync.runtime.cli.printing import count

SUFFIX = ".about.json"


@dataclass(slots=True)
class Tally:
    """Number of rows written, and of those without a trusted time of capture."""

    rows: int = 0
    untrusted_times: int = 0

    def add(self, rows: Sequence[RowMapping]) -> None:
        """Count a page of rows."""
        self.rows += len(rows)
        if "corrected_at" in rows[0]:
            self.untrusted_times += sum(row["corrected_at"] is None for row in rows)


@dataclass(frozen=True, slots=True)
class About:
    """An export that was written."""

    selection: Selection
    scope: Scope
    form: Format
    tally: Tally
    unheard: Unheard

    def members(self) -> dict[str, object]:
        """Return the description as members of a JSON object."""
        chosen, received = self.selection, self.selection.received.members()
        bounds = {"from": "since", "to": "until"}
        return {
            **self.scope.reference.as_of(),
            "table": chosen.exported,
            "format": self.form,
            "storeId": chosen.store_id,
            **chosen.captured.members(),
            **{bounds[name]: at for name, at in received.items()},
            "rows": self.tally.rows,
            "untrustedTimes": self.tally.untrusted_times,
            **self.unheard.members(),
        }

    def sentences(self) -> Iterator[str]:
        """Yield the limits of the export as sentences."""
        yield from as_of(self.scope.reference.now, self.unheard)
        if self.selection.captured and self.tally.untrusted_times:
            rows = count(self.tally.untrusted_times, "row")
            yield f"{rows} selected by the time of receipt: the till's clock was wrong."


def write_about(exported: Path, about: About) -> None:
    """Write the file beside an export, readable by its user only."""
    path = exported.with_name(f"{exported.name}{SUFFIX}")
    with output_to(path, f"{exported} is complete") as file:
        file.write(msgspec.json.format(msgspec.json.encode(about.members()), indent=2) + b"\n")
