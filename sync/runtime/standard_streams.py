"""Opens the standard streams that the process was started without."""

import os
import sys

_STREAMS = ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w"))


def open_closed_streams() -> None:
    """Open each of the descriptors 0, 1 and 2 that is closed on the null device.

    Call it first in a process: the next file or socket to be opened would take the free number.
    Output of a library would then go into it, and libuv aborts the process when it closes it.
    """
    for number, name, mode in _STREAMS:
        try:
            os.fstat(number)
        except OSError:
            # Descriptors are taken lowest first, and those below this one are open by now.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            stream = open(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115 - lives as long as the process
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
