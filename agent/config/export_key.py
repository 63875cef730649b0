"""Head office's public key, with which exports are sealed: the file that the settings name."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from sync.runtime.files.regular_file import read_regular
from sync.runtime.settings.setting_errors import ConfigurationError, SettingError

_SETTING = "central.public_key_file"
_MAX_BYTES = 64 * 1024


def read_export_key(file: Path) -> X25519PublicKey:
    """Return the key in `file`. Raises `ConfigurationError`."""
    try:
        content = read_regular(file, _MAX_BYTES)
    except OSError as error:
        raise _error(file, f"the file cannot be read ({error.strerror})") from None
    return _key_in(content, file)


def find_export_key_errors(file: Path | None) -> Iterator[SettingError]:
    """Yield the error of the file's content; one without a content has errors elsewhere.

    Only exports need the key: an agent starts without.
    """
    with suppress(OSError):
        if file is not None and (content := read_regular(file, _MAX_BYTES)):
            try:
                _key_in(content, file)
            except ConfigurationError as error:
                yield from error.errors


def _key_in(content: bytes, file: Path) -> X25519PublicKey:
    if b"PRIVATE KEY-----" in content:
        words = "holds no public key, but a private one, which must not leave head office"
        raise _error(file, words)
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        raise _error(file, "holds no public key of head office") from None
    if not isinstance(key, X25519PublicKey):
        kind = type(key).__name__.removesuffix("PublicKey")
        raise _error(file, f"holds a key of another kind ({kind})")
    return key


def _error(file: Path, fault: str) -> ConfigurationError:
    message = f"{fault}: at head office, `loyalty-hq keys` prints it"
    return ConfigurationError([SettingError(str(file), _SETTING, message)])
