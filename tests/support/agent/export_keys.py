"""Files that are not head office's public key, and what is said of them."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

_OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(32))).public_key()
_PRIVATE = X25519PrivateKey.from_private_bytes(bytes(range(32)))
WRONG_KEYS = [
    ("", "the file is empty"),
    ("ssh-rsa AAAA", "holds no public key of head office: at head office, `loyalty-hq keys"),
    (
        _OTHER.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
        "holds a key of another kind (Ed25519)",
    ),
    (
        _PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        "holds no public key, but a private one, which must not leave head office",
    ),
]
