"""A disk with a cache: what is synced stays, what is not may be lost, reordered or torn.

Names (new files, renames, removals) are on the disk once their directory is synced; until then a
power cut keeps them up to some moment, as a journalling file system does.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.crash.states.recording import (
    Answered,
    Create,
    Operation,
    Remove,
    Rename,
    Resize,
    Sync,
    Write,
)

SECTOR_BYTES = 512
# Only an index of the log, rebuilt after a crash; written through memory, which is not recorded.
_IGNORED = "-shm"


@dataclass
class _File:
    """Synced content, and changes since."""

    synced: bytearray = field(default_factory=bytearray)
    unsynced: list[Write | Resize] = field(default_factory=list)
    size: int = 0


@dataclass(frozen=True, slots=True)
class _NameChange:
    """`path` is the name of `file` (None: a directory) from now on, and `before` of nothing."""

    path: str | None
    file: _File | None
    before: str | None = None


@dataclass
class Disk:
    """The files below `root`."""

    root: str
    names: dict[str, _File | None] = field(default_factory=dict)
    synced_names: dict[str, _File | None] = field(default_factory=dict)
    changes: list[_NameChange] = field(default_factory=list)

    def apply(self, operation: Operation) -> None:
        """Run an operation of the recording."""
        if isinstance(operation, Answered) or not self._is_ours(operation.path):
            return
        match operation:
            case Write() | Resize():
                self._change(operation)
            case Create():
                self._create(operation)
            case Rename():
                file = self.names.pop(operation.path)
                self._rename(_NameChange(operation.target, file, before=operation.path))
            case Remove():
                if operation.path in self.names:
                    del self.names[operation.path]
                    self.changes.append(_NameChange(None, None, before=operation.path))
            case Sync():
                self._sync(operation.path)

    def after_power_cut(self, rng: random.Random) -> Mapping[str, bytes | None]:
        """Return the content of each file that is left, by path; None for a directory."""
        names = dict(self.synced_names)
        for change in self.changes[: rng.randint(0, len(self.changes))]:
            _apply(change, names)
        lost = rng.choice((_drop_all, _keep_all, _reorder, _tear))
        return {
            path: None if file is None else bytes(_content(file, lost(file.unsynced, rng)))
            for path, file in names.items()
        }

    def _is_ours(self, path: str) -> bool:
        return path.startswith(self.root) and not path.endswith((_IGNORED, "(deleted)"))

    def _change(self, change: Write | Resize) -> None:
        file = self.names[change.path]
        assert file is not None
        if isinstance(change, Write):
            offset = file.size if change.offset is None else change.offset
            change = Write(change.path, offset, change.content)
            file.size = max(file.size, offset + len(change.content))
        else:
            file.size = change.size
        file.unsynced.append(change)

    def _create(self, created: Create) -> None:
        if created.path not in self.names:
            file = None if created.is_directory else _File()
            self.names[created.path] = file
            self.changes.append(_NameChange(created.path, file))
        elif created.is_emptied:
            self._change(Resize(created.path, 0))

    def _rename(self, change: _NameChange) -> None:
        assert change.path is not None
        self.names[change.path] = change.file
        self.changes.append(change)

    def _sync(self, path: str) -> None:
        file = self.names.get(path)
        if file is not None:
            file.synced = _content(file, file.unsynced)
            file.unsynced = []
            return
        # A journal writes all changes up to the last one in this directory.
        last = max((at for at, one in enumerate(self.changes) if _is_in(path, one)), default=-1)
        for change in self.changes[: last + 1]:
            _apply(change, self.synced_names)
        self.changes = self.changes[last + 1 :]


def _is_in(directory: str, change: _NameChange) -> bool:
    names = (change.path, change.before)
    return directory in {name.rpartition("/")[0] for name in names if name is not None}


def _apply(change: _NameChange, names: dict[str, _File | None]) -> None:
    if change.before is not None:
        names.pop(change.before, None)
    if change.path is not None:
        names[change.path] = change.file


def _content(file: _File, changes: list[Write | Resize]) -> bytearray:
    content = bytearray(file.synced)
    for change in changes:
        if isinstance(change, Resize):
            del content[change.size :]
            content.extend(bytes(change.size - len(content)))
            continue
        assert change.offset is not None
        content.extend(bytes(max(change.offset - len(content), 0)))
        content[change.offset : change.offset + len(change.content)] = change.content
    return content


def _drop_all(_changes: list[Write | Resize], _rng: random.Random) -> list[Write | Resize]:
    return []


def _keep_all(changes: list[Write | Resize], _rng: random.Random) -> list[Write | Resize]:
    return changes


def _reorder(changes: list[Write | Resize], rng: random.Random) -> list[Write | Resize]:
    """Keep any of the changes: a later one may be on the disk before an earlier one."""
    return [change for change in changes if rng.random() < 0.5]


def _tear(changes: list[Write | Resize], rng: random.Random) -> list[Write | Resize]:
    """Keep the changes up to one, and of this one some sectors."""
    kept = changes[: rng.randint(0, len(changes))]
    if not kept or isinstance(kept[-1], Resize):
        return kept
    last = kept[-1]
    assert last.offset is not None
    sectors = range(0, len(last.content), SECTOR_BYTES)
    torn = [
        Write(last.path, last.offset + start, last.content[start : start + SECTOR_BYTES])
        for start in sectors
        if rng.random() < 0.5
    ]
    return [*kept[:-1], *torn]
