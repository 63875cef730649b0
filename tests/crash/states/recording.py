"""Records the file operations and the answers of a running agent, with strace.

Order in the recording: a write stands where it begins, a sync where it ends. What a state may
lose is then never less than what a power cut could lose.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from tests.support.faults.strace import strace

CALLS = (
    "openat,open,creat,write,writev,pwrite64,fsync,fdatasync,ftruncate,fallocate,rename,renameat,"
    "renameat2,unlink,unlinkat,mkdir,mkdirat,sendto,sendmsg,lseek"
)
_LINE = re.compile(r"(?P<pid>\d+) +(?:(?P<call>\w+)\((?P<rest>.*)|<\.\.\. \w+ resumed)")
_RESULT = re.compile(r"\) += (-?\d+)[^=]*$")
_PWRITE_OFFSET = re.compile(r", (\d+)\)? *(?:=|<unfinished)")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_RECEIPT = re.compile(rb"Loyalty-Receipt: (\S+)")
_DESCRIPTOR = re.compile(r"\d+<([^>]*)>")


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes written to a file at an offset; None: appended."""

    path: str
    offset: int | None
    content: bytes


@dataclass(frozen=True, slots=True)
class Resize:
    """A file is cut, or padded with zeros."""

    path: str
    size: int


@dataclass(frozen=True, slots=True)
class Create:
    """A name is created for a new file or directory, or an existing file is emptied."""

    path: str
    is_directory: bool
    is_emptied: bool


@dataclass(frozen=True, slots=True)
class Rename:
    """A name is replaced."""

    path: str
    target: str


@dataclass(frozen=True, slots=True)
class Remove:
    """A name is removed."""

    path: str


@dataclass(frozen=True, slots=True)
class Sync:
    """A file's content, or a directory's names, are on the disk."""

    path: str


@dataclass(frozen=True, slots=True)
class Answered:
    """A till has its answer: the capture with this receipt is acknowledged."""

    receipt: str


Operation: TypeAlias = Write | Resize | Create | Rename | Remove | Sync | Answered


def traced(program: tuple[str, ...], log: Path) -> tuple[str, ...]:
    """Return the command that runs `program` and records its operations in `log`.

    The tracer is no parent of the program: signals reach the program itself.
    """
    options = ("-D", "-f", "-qq", "-xx", "-y", "-s", "100000000", "-e", f"trace={CALLS}")
    return (strace(), *options, "-o", str(log), *program)


def read_recording(log: Path) -> Iterator[Operation]:
    """Yield the operations in order."""
    reader, begun = _Reader(), dict[str, tuple[str, str]]()
    with log.open() as lines:
        for line in lines:
            found = _LINE.match(line)
            if found is None:
                continue
            if found["call"] is None:
                call, rest = begun.pop(found["pid"])
                yield from reader.end(call, rest, _returned(line))
                continue
            call, rest = found["call"], found["rest"]
            yield from reader.begin(call, rest)
            if rest.endswith("<unfinished ...>"):
                begun[found["pid"]] = (call, rest)
            else:
                yield from reader.end(call, rest, _returned(rest))


@dataclass
class _Reader:
    """Turns calls into operations; knows the offset of each open file (None: appends)."""

    offsets: dict[str, int | None] = field(default_factory=dict)

    def begin(self, call: str, rest: str) -> Iterator[Operation]:
        """Yield the operations that count from the beginning of a call."""
        match call:
            case "write" | "pwrite64" | "sendto":
                yield from self._write(call, rest)
            case "ftruncate":
                yield Resize(_path(rest), int(rest.split(",")[1].split(")", maxsplit=1)[0]))
            case "writev" | "sendmsg" | "fallocate" if _path(rest).startswith("/"):
                raise NotImplementedError(f"the recording has a {call}")

    def end(self, call: str, rest: str, returned: int) -> Iterator[Operation]:
        """Yield the operations that count from the end of a call, if it succeeded."""
        if returned < 0:
            return
        match call:
            case "fsync" | "fdatasync":
                yield Sync(_path(rest))
            case "lseek":
                self._seek(rest, returned)
            case "openat" | "open" | "creat":
                yield from self._open(rest, returned)
            case "mkdir" | "mkdirat":
                yield Create(_names(rest)[0], is_directory=True, is_emptied=False)
            case "rename" | "renameat" | "renameat2":
                source, target = _names(rest)
                yield Rename(source, target)
            case "unlink" | "unlinkat":
                yield Remove(_names(rest)[0])

    def _write(self, call: str, rest: str) -> Iterator[Operation]:
        path, content = _path(rest), b"".join(_strings(rest))
        if not path.startswith("/"):
            yield from (Answered(found.decode()) for found in _RECEIPT.findall(content))
        elif call == "pwrite64":
            yield Write(path, int(_PWRITE_OFFSET.findall(rest)[-1]), content)
        else:
            descriptor = _descriptor(rest)
            offset = self.offsets.get(descriptor)
            if offset is not None:
                self.offsets[descriptor] = offset + len(content)
            yield Write(path, offset, content)

    def _seek(self, rest: str, position: int) -> None:
        if self.offsets.get(_descriptor(rest)) is not None:
            self.offsets[_descriptor(rest)] = position

    def _open(self, rest: str, descriptor: int) -> Iterator[Operation]:
        self.offsets[str(descriptor)] = None if "O_APPEND" in rest else 0
        if "O_CREAT" in rest or "O_TRUNC" in rest:
            yield Create(_names(rest)[0], is_directory=False, is_emptied="O_TRUNC" in rest)


def _returned(line: str) -> int:
    found = _RESULT.search(line)
    return -1 if found is None else int(found[1])


def _strings(rest: str) -> list[bytes]:
    return [bytes.fromhex(found.replace("\\x", "")) for found in _STRING.findall(rest)]


def _names(rest: str) -> list[str]:
    return [name.decode() for name in _strings(rest)]


def _descriptor(rest: str) -> str:
    return rest.partition("<")[0]


def _path(rest: str) -> str:
    """Return the path of the call's descriptor; that of a socket does not begin with a slash."""
    found = _DESCRIPTOR.match(rest)
    if found is None:
        return ""
    name = found[1]
    return bytes.fromhex(name.replace("\\x", "")).decode() if "\\x" in name else name
