"""Raises the limit of file descriptors, and derives the limit of connections from it."""

import contextlib
import resource

# As many as a server of this kind can use; a limit without bound slows down child processes.
_WANTED = 65_536
# For the database and its readers, the files of the log and of TLS, and outgoing connections.
_RESERVED = 256


def raise_descriptor_limit() -> None:
    """Raise the soft limit to the hard one, at most to `_WANTED`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED if hard == resource.RLIM_INFINITY else min(hard, _WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # A sandbox may forbid it; the server then takes fewer connections.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def connections_within_limit(most: int) -> int:
    """Return how many connections may be open, at most `most`: some descriptors stay free."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return most
    return min(most, soft - min(_RESERVED, soft // 2))
