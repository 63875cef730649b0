"""Runs commands of both programs in forks of a process that has imported them.

A start of Python with the imports of a command takes most of a second of a core, its fork a
hundredth. `python -m tests.support.fork_server` serves the commands of one test process.
"""

import array
import atexit
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, NoReturn

_MAX_REQUEST = 1 << 20
_CODE = array.array("i", [0]).itemsize


class _Request(NamedTuple):
    """A command as `python -m module arguments`."""

    module: str
    arguments: Sequence[str]
    directory: str
    environment: Mapping[str, str]
    umask: int


def run_forked(
    module: str,
    arguments: Sequence[str],
    *,
    directory: Path,
    environment: Mapping[str, str],
    timeout_seconds: float,
) -> subprocess.CompletedProcess[str]:
    """Run `python -m module arguments` to its end, as `subprocess.run` does with its output."""
    null = os.open(os.devnull, os.O_RDONLY)
    (read_out, out), (read_err, err) = os.pipe(), os.pipe()
    with (
        started(module, arguments, directory, environment, (null, out, err)) as connection,
        open(read_out) as output,  # noqa: PTH123 - a descriptor
        open(read_err) as errors,  # noqa: PTH123 - a descriptor
    ):
        pid = _number(connection)
        is_late = threading.Event()
        timer = threading.Timer(timeout_seconds, _kill, (pid, is_late))
        timer.start()
        texts: list[str] = []
        listening = threading.Thread(target=lambda: texts.append(errors.read()))
        listening.start()
        texts.insert(0, output.read())
        listening.join()
        code = _number(connection)
        timer.cancel()
    command = [sys.executable, "-m", module, *arguments]
    if is_late.is_set():
        raise subprocess.TimeoutExpired(command, timeout_seconds, *texts)
    return subprocess.CompletedProcess(command, code, *texts)


def started(
    module: str,
    arguments: Sequence[str],
    directory: Path,
    environment: Mapping[str, str],
    streams: Sequence[int],
) -> socket.socket:
    """Start `python -m module arguments` on `streams`, which are closed here.

    Returns the connection that tells its process id, and at its end its exit code.
    """
    sys.audit("subprocess.Popen", module, arguments, directory, environment)
    umask = os.umask(0o022)
    os.umask(umask)
    request = _Request(module, arguments, str(directory), environment, umask)
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(_started_server())
    socket.send_fds(connection, [json.dumps(request).encode()], streams)
    connection.shutdown(socket.SHUT_WR)
    for stream in {*streams}:
        os.close(stream)
    return connection


def _kill(pid: int, is_late: threading.Event) -> None:
    is_late.set()
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _number(connection: socket.socket) -> int:
    (number,) = array.array("i", connection.recv(_CODE, socket.MSG_WAITALL))
    return number


@cache
def _started_server() -> str:
    """Start the server, which ends with this process; return its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    atexit.register(process.communicate)
    return process.stdout.readline().rstrip("\n").replace("@", "\0")


def _import_commands() -> None:
    from agent.cli import COMMANDS as OF_AGENT  # noqa: PLC0415 - the client needs none of it
    from sync.receiver.cli import COMMANDS as OF_HEAD_OFFICE  # noqa: PLC0415 - as above

    for command in (*OF_AGENT.values(), *OF_HEAD_OFFICE.values()):
        import_module(command.module)


def _serve(listener: socket.socket) -> _Request:
    """Serve until standard input ends; return, in the fork for a command, what it is."""
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            os._exit(0)
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            return _supervise(connection)
        connection.close()


def _supervise(connection: socket.socket) -> _Request:
    """Fork the command, and answer with its process id and its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    text, descriptors, _, _ = socket.recv_fds(connection, _MAX_REQUEST, 3)
    while more := connection.recv(_MAX_REQUEST):
        text += more
    pid = os.fork()
    if pid == 0:
        connection.close()
        request = _Request(*json.loads(text))
        _become(request, descriptors)
        return request
    for descriptor in descriptors:
        os.close(descriptor)
    connection.sendall(array.array("i", [pid]).tobytes())
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    connection.sendall(array.array("i", [code]).tobytes())
    os._exit(0)


def _become(request: _Request, descriptors: Sequence[int]) -> None:
    """Set the inherited state of a process: streams, directory, environment, umask."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(request.directory)
    os.environ.clear()
    os.environ.update(request.environment)
    os.umask(request.umask)
    sys.argv = ["", *request.arguments]


def main() -> NoReturn:
    """Serve; in a fork, run its command and exit as Python does."""
    _import_commands()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0loyalty-tests-{os.getpid()}")
        listener.listen()
        print(f"@loyalty-tests-{os.getpid()}", flush=True)
        request = _serve(listener)
    runpy.run_module(request.module, run_name="__main__", alter_sys=True)
    raise SystemExit


if __name__ == "__main__":
    main()
