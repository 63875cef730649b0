"""Read a bundle back, with everything compressed in it."""

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

_FOLDER = "loyalty-agent-support/"


def members_of(bundle: Path) -> dict[str, bytes]:
    """Return the files of a bundle by name."""
    members = {}
    with tarfile.open(bundle, "r:gz") as archive:
        for about in archive.getmembers():
            file = archive.extractfile(about)
            assert file is not None
            members[about.name.removeprefix(_FOLDER)] = file.read()
    return members


def layers_of(content: bytes) -> Iterator[bytes]:
    """Yield `content` and, recursively, everything compressed or archived in it."""
    yield content
    if content.startswith(b"\x1f\x8b"):
        yield from layers_of(gzip.decompress(content))
        return
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            for about in archive.getmembers():
                yield str(about.get_info()).encode()
                file = archive.extractfile(about)
                yield from layers_of(file.read() if file else b"")
    except (tarfile.TarError, zlib.error):
        return
