"""A process without a free file descriptor."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def every_descriptor_taken() -> Iterator[None]:
    """Allow no further open file in this process, as if connections had taken all."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
