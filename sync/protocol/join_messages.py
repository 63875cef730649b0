"""Messages by which a POS machine joins head office with a join code. JSON, camelCase.

The machine makes its token itself and registers only the hash: neither the request nor the answer
holds the token. So a join may be repeated after a lost answer, and a repeat by anyone who has read
the line gains nothing.
"""

from typing import Annotated, TypeAlias

import msgspec

JOIN_PATH = "/sync/v1/join"
AUTHORITY_PATH = "/sync/v1/join/authorities/{mark}"

_Name: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,64}\Z")]
_Secret: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Z]{25}\Z")]
_Hash: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]


class JoinRequest(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """`POST /sync/v1/join`: register the hash of the machine's own token with a code's secret."""

    store_id: _Name
    till_id: _Name
    secret: _Secret
    token_hash: _Hash
    agent_version: Annotated[str, msgspec.Meta(max_length=200)] = ""


class JoinAnswer(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """The 200: the machine's token is valid. Its first use ends the till's older ones."""

    store_id: str
    till_id: str


class AuthorityAnswer(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """The 200 to `GET` of an authority: its certificate in PEM.

    Fetched before head office can be verified: trust it only if its fingerprint is the code's.
    """

    certificate: str
