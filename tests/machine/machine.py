"""A systemd-nspawn machine on an overlay file system: boot, shutdown, power cut."""

import ctypes
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.machine.disk import Disk, run_on_host

BOOT_SECONDS = 30.0
_LOOK_SECONDS = 0.01
_NSPAWN = (
    *("systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit"),
    *("--private-network", "--link-journal=no", "--console=pipe"),
)


_CLONE_NEWNS, _CLONE_NEWNET = 0x00020000, 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


def keep_mounts_private() -> None:
    """Put this thread in its own mount namespace, which ends with the process.

    A machine's lower layer is this host's root directory: no other process that cleans up
    after tests may ever see it.
    """
    _call_libc("unshare", _CLONE_NEWNS)
    run_on_host("mount", "--make-rprivate", "/")


class Machine:
    """A Debian in `place`: off at first, on between `boot` and `shut_down` or `cut_power`.

    `place` is an empty directory for this machine, `debian` the root directory of an installed
    one: by default this host's. Call `keep_mounts_private` first.
    """

    def __init__(self, place: Path, debian: Path = Path("/")) -> None:
        self.root = place / "root"
        self._lower = place / "lower"
        self._place = place
        self._uuid = str(uuid.uuid4())
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._init = 0
        for folder in (self.root, self._lower):
            folder.mkdir()
        run_on_host("mount", "--bind", debian, self._lower)
        run_on_host("mount", "-o", "remount,bind,ro", self._lower)
        self._disk = Disk(place / "disk.img", place / "disk")
        self._mount_overlay()
        self._remove_host_settings()

    def boot(self) -> None:
        """Boot it; return once its init is running."""
        with (self._place / "console").open("ab") as console:
            self._nspawn = subprocess.Popen(
                (*_NSPAWN, f"--uuid={self._uuid}", "-D", self.root),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        self._init = self._wait_for_init(self._nspawn.pid)

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command in it, with standard input at its end; return its output."""
        namespaces = ("nsenter", "-t", str(self._init), "-m", "-p", "-n", "-i", "-u", "--")
        return _run((*namespaces, *command), check=check)

    def run_while_off(self, *command: str) -> str:
        """Run a command in its file system alone, as a build of an image does: without /proc."""
        return _run(("chroot", str(self.root), *command), check=True)

    def host_pid(self, pid: int) -> int:
        """Return the host's PID of a process of the machine."""
        for status in Path("/proc").glob("[0-9]*/status"):
            with suppress(OSError):
                spaces = _proc_numbers(status, "NSpid")
                if spaces[1:] == [pid] and self._is_in_machine(spaces[0]):
                    return spaces[0]
        raise LookupError(f"no process {pid} in the machine")

    @contextmanager
    def network(self) -> Iterator[None]:
        """Create this thread's sockets in the machine's network during the block."""
        host_namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        machine_namespace = os.open(f"/proc/{self._init}/ns/net", os.O_RDONLY)
        try:
            _enter_network(machine_namespace)
            yield
        finally:
            _enter_network(host_namespace)
            os.close(machine_namespace)
            os.close(host_namespace)

    def sync(self) -> None:
        """Flush its file system, as on a till that has run for a while."""
        run_on_host("sync", "-f", self.root)

    def shut_down(self) -> None:
        """Shut it down cleanly."""
        if self._nspawn is not None:
            self.run("systemctl", "poweroff", check=False)
            self._wait_for_exit()

    def cut_power(self) -> None:
        """Cut the power: the disk keeps synced data only; the machine is off afterwards."""
        self._disk.cut()
        self._kill()
        run_on_host("umount", self.root)
        self._disk.unmount()
        self._mount_overlay()

    def remove(self) -> None:
        """Unmount and delete it in any state; deletes only its own files."""
        try:
            if self._nspawn is not None:
                self._kill()
        finally:
            for mount in (self.root, self._disk.mount_point, self._lower):
                subprocess.run(("umount", "--lazy", mount), check=False, capture_output=True)
            for file in (self._place / "disk.img", self._place / "console"):
                file.unlink(missing_ok=True)
            for folder in (self.root, self._disk.mount_point, self._lower, self._place):
                folder.rmdir()

    def _mount_overlay(self) -> None:
        self._disk.mount()
        upper, work = self._disk.mount_point / "upper", self._disk.mount_point / "work"
        for folder in (upper, work):
            folder.mkdir(exist_ok=True)
        layers = f"lowerdir={self._lower},upperdir={upper},workdir={work}"
        run_on_host("mount", "-t", "overlay", "overlay", "-o", layers, self.root)

    def _remove_host_settings(self) -> None:
        """Remove the host's enabled units, machine ID and ban on starting services."""
        units = self.root / "etc/systemd/system"
        shutil.rmtree(units, ignore_errors=True)
        units.mkdir()
        (units / "default.target").symlink_to("/usr/lib/systemd/system/multi-user.target")
        (self.root / "etc/machine-id").write_text("")
        (self.root / "usr/sbin/policy-rc.d").unlink(missing_ok=True)

    def _wait_for_init(self, parent: int) -> int:
        over = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < over:
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
            for child in map(int, children):
                with suppress(OSError):
                    is_init = _proc_numbers(Path(f"/proc/{child}/status"), "NSpid")[1:] == [1]
                    # Before it has its own network, a request would reach an agent of the host.
                    if is_init and _network_of(child) != _network_of("self"):
                        return child
            time.sleep(_LOOK_SECONDS)
        raise TimeoutError((self._place / "console").read_text())

    def _is_in_machine(self, pid: int) -> bool:
        namespaces = {Path(f"/proc/{one}/ns/pid").readlink() for one in (pid, self._init)}
        return len(namespaces) == 1

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._init, signal.SIGKILL)
        self._wait_for_exit()

    def _wait_for_exit(self) -> None:
        if self._nspawn is not None:
            self._nspawn.wait(BOOT_SECONDS)
        self._nspawn = None


def _run(command: tuple[str, ...], *, check: bool) -> str:
    done = subprocess.run(
        command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if check and done.returncode:
        raise RuntimeError(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def _network_of(process: int | str) -> Path:
    return Path(f"/proc/{process}/ns/net").readlink()


def _proc_numbers(status: Path, name: str) -> list[int]:
    for line in status.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return [int(word) for word in line.split()[1:]]
    return []


def _enter_network(network: int) -> None:
    _call_libc("setns", network, _CLONE_NEWNET)


def _call_libc(name: str, *arguments: int) -> None:
    """Call a libc function that Python 3.11 does not wrap."""
    if getattr(_LIBC, name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
