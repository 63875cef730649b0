"""List of tills of any length in a CSV file: checked as a whole first, then read row by row."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TextIO

from sync.receiver.auth.enrolment_csv import EnrolmentListError, ListErrors, read_rows
from sync.receiver.auth.tokens import AgentName


class NameSet:
    """Set of tills with the line of each, in a temporary file beyond a few megabytes."""

    def __init__(self) -> None:
        # "": a private temporary database, which SQLite keeps in memory only while it is small.
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute(
            "CREATE TABLE name (store TEXT, till TEXT, line INTEGER, PRIMARY KEY (store, till))"
            " WITHOUT ROWID"
        )
        self._database.execute("BEGIN")

    def add(self, name: AgentName, line: int = 0) -> bool:
        """Add a till; return whether it is new."""
        values = (name.store_id, name.till_id, line)
        added = self._database.execute("INSERT OR IGNORE INTO name VALUES (?, ?, ?)", values)
        return added.rowcount == 1

    def line_of(self, name: AgentName) -> int | None:
        """Return the line of a till; None if it is not in the set."""
        query = "SELECT line FROM name WHERE store = ? AND till = ?"
        row = self._database.execute(query, (name.store_id, name.till_id)).fetchone()
        return None if row is None else int(row[0])

    def close(self) -> None:
        """Delete the set."""
        self._database.close()


class TillList:
    """The tills in a file. Memory does not depend on its length."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def check(self) -> int:
        """Return the number of tills. Raises `EnrolmentListError` with every error's line."""
        errors, tills = ListErrors(), 0
        with closing(NameSet()) as names:
            for line, found in self._rows():
                if isinstance(found, str):
                    errors.add(line, found)
                elif names.add(found, line):
                    tills += 1
                else:
                    errors.add(line, f"duplicate of line {names.line_of(found)}")
        errors.raise_if_any(tills=tills)
        return tills

    def names(self) -> Iterator[AgentName]:
        """Yield the tills in the list's order. Raises `EnrolmentListError` if it changed."""
        for line, found in self._rows():
            if isinstance(found, str):
                raise EnrolmentListError(f"line {line}: {found}")
            yield found

    def _rows(self) -> Iterator[tuple[int, AgentName | str]]:
        self._file.seek(0)
        return read_rows(self._file)


def open_list(path: Path) -> TextIO:
    """Open a list. Raises `OSError`, also for a pipe, which cannot be read twice."""
    file = path.open(encoding="utf-8-sig", newline="")
    try:
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file
