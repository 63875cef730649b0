"""Types of setting values, each with its validation and its description in error messages."""

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, get_origin
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic.fields import FieldInfo

from sync.protocol.program_terms import Locale, first_valid_locale


@dataclass(frozen=True, slots=True)
class Description:
    """Description of the expected value for error messages, without the range."""

    text: str


_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HOST_NAME = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*"
)
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]+\]|[^/?#@\s:\[\]]+)(:[0-9]{1,5})?")
_FIELD_NAME = r"[A-Za-z0-9!#$%&'*+.^_`|~-]*"  # RFC 9110, token
_PRINTABLE_WITHOUT_COLON = "[ -9;-~]*"
_HOURS = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]-(?:[01][0-9]|2[0-3]):[0-5][0-9]")
_OF_THE_TOKEN_REQUEST = frozenset({"grant_type", "client_id", "scope"})
# Names of parameters that hold a secret; `requested_token_type` or `token_format` hold none.
_SECRET = re.compile(r"(?i)secret|passw|credential|(assertion|token|key)\Z|\Acode\Z")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def is_loopback(host: str) -> bool:
    """Return True for `localhost` and loopback IP addresses."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_path(field: FieldInfo) -> bool:
    """Return True for the path of a file or directory."""
    return field.annotation in {Path, Path | None}


def is_table(field: FieldInfo) -> bool:
    """Return True for a table of texts."""
    return get_origin(field.annotation) is dict


def is_list(field: FieldInfo) -> bool:
    """Return True for a list."""
    return get_origin(field.annotation) is tuple


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _reject_bool(value: object) -> object:
    # In Python True == 1, so pydantic would accept true as a number.
    if isinstance(value, bool):
        raise ValueError("expected a number")  # noqa: TRY004 - pydantic collects ValueErrors only
    return value


def _whole_if_possible(number: float) -> float:
    return int(number) if number.is_integer() else number


EVERY_STORE = "*"


def check_name(text: str) -> str:
    """Return `text` if it is a valid store or till ID. Raises `ValueError`."""
    if not _NAME.fullmatch(text) or text in {".", ".."}:
        raise ValueError("expected 1 to 64 of the characters A-Z a-z 0-9 . _ -")
    return text


def _store_or_all(text: str) -> str:
    try:
        return text if text == EVERY_STORE else check_name(text)
    except ValueError as error:
        raise ValueError(f'{error}, or "{EVERY_STORE}" for all stores') from None


def _listening_host(text: str) -> str:
    if text.lower() != "localhost" and not _is_address(text):
        raise ValueError('expected an IP address of this machine, or "localhost"')
    return text.lower()


def _host_name(text: str) -> str:
    host = text.lower()
    if not _HOST_NAME.fullmatch(host) and not _is_address(host):
        raise ValueError("expected host names or IP addresses alone, without scheme, port or path")
    return host


def _origin(text: str) -> str:
    if text.strip() == "*":
        raise ValueError(
            '"*" is not allowed: any web page open on the POS machine could call the agent. List'
            " the allowed origins"
        )
    found = _ORIGIN.fullmatch(text.lower())
    if not found:
        raise ValueError("expected origins of the form scheme://host or scheme://host:port")
    # Browsers omit the default port in the Origin header, so drop it here or nothing matches.
    scheme, host, port = found.groups(default="")
    return f"{scheme}://{host}" + ("" if port == _DEFAULT_PORTS.get(scheme) else port)


def _http_url(text: str) -> SplitResult:
    if not text.isprintable() or " " in text:
        raise ValueError("expected a URL without spaces")
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        usable = None
    if not usable:
        raise ValueError("expected a URL such as https://host/path")
    if "@" in parts.netloc:
        raise ValueError("a URL must not contain a user name or password: put secrets into files")
    if parts.query or parts.fragment:
        raise ValueError("expected a URL without ? and #")
    return parts


def _secure_url(text: str) -> str:
    if text:
        parts = _http_url(text)
        if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
            raise ValueError("expected https:// (http:// is allowed only for this machine)")
    return text


def _proxy_url(text: str) -> str:
    if text and _http_url(text).path not in {"", "/"}:
        raise ValueError("expected a proxy such as http://host:port, without a path")
    return text


def _token_parameters(found: dict[str, str]) -> dict[str, str]:
    if taken := sorted(_OF_THE_TOKEN_REQUEST.intersection(found)):
        raise ValueError(f"{', '.join(taken)}: this has a setting of its own, or is always sent")
    if secrets := sorted(n for n in found if _SECRET.search(n)):
        raise ValueError(
            f"{', '.join(secrets)} would be a secret in clear text: write the client's secret to a"
            " file, and name that file in client_secret_file"
        )
    return found


def _network(text: str) -> str:
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        raise ValueError(
            "expected addresses or networks, such as 192.0.2.10 or 192.0.2.0/24"
        ) from None
    if network.prefixlen == 0:
        raise ValueError("expected the addresses of the proxies, not every address")
    return str(network)


def _hours(text: str) -> str:
    if text and (not _HOURS.fullmatch(text) or text[:5] == text[6:]):
        raise ValueError('expected two different times, such as "22:00-06:00", or "" for none')
    return text


def _empty_is_unset(value: object) -> object:
    return None if value == "" else value


def _full_path(path: Path | None) -> Path | None:
    if path is not None and ("\0" in str(path) or not path.parts or path.parts[0][0] == "~"):
        raise ValueError('expected a full path, without "~"')
    return path


def _matching(pattern: str, expected: str) -> AfterValidator:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"expected {expected}")
        return text

    return AfterValidator(check)


def _locale(value: object) -> object:
    if isinstance(value, str):
        return first_valid_locale([value.replace("_", "-")]) or value
    return value


_no_bool = BeforeValidator(_reject_bool)

WholeNumber = Annotated[int, _no_bool, Description("a whole number")]
Number = Annotated[
    float,
    _no_bool,
    AfterValidator(_whole_if_possible),
    Field(allow_inf_nan=False),
    Description("a number"),
]
Text = Annotated[str, Description("text in quotes")]
Name = Annotated[Text, AfterValidator(check_name)]
Stores = Annotated[
    tuple[Annotated[Text, AfterValidator(_store_or_all)], ...],
    Description("a list of store IDs in quotes"),
]
ListeningHost = Annotated[Text, AfterValidator(_listening_host)]
HostName = Annotated[Text, AfterValidator(_host_name)]
HostNames = Annotated[tuple[HostName, ...], Description("a list of host names in quotes")]
Origin = Annotated[Text, AfterValidator(_origin)]
Origins = Annotated[tuple[Origin, ...], Description("a list of origins in quotes")]
Network = Annotated[Text, AfterValidator(_network)]
Networks = Annotated[tuple[Network, ...], Description("a list of addresses or networks in quotes")]
SecureUrl = Annotated[Text, AfterValidator(_secure_url)]
ProxyUrl = Annotated[Text, AfterValidator(_proxy_url)]
ProxyUser = Annotated[
    Text, _matching(_PRINTABLE_WITHOUT_COLON, 'a user name in printable ASCII, without ":"')
]
TokenParameters = Annotated[
    dict[str, str],
    AfterValidator(_token_parameters),
    Description('a table of texts, such as { audience = "https://loyalty.example" }'),
]
HeaderName = Annotated[
    Text, _matching(_FIELD_NAME, "the name of an HTTP header, such as X-Api-Key")
]
HourRange = Annotated[Text, AfterValidator(_hours)]
Flag = Annotated[bool, Description("true or false")]
Directory = Annotated[
    Path,
    BeforeValidator(_empty_is_unset),
    AfterValidator(_full_path),
    Description("a path in quotes"),
]
OptionalFile = Annotated[
    Path | None,
    BeforeValidator(_empty_is_unset),
    AfterValidator(_full_path),
    Description("the path of a file in quotes"),
]
LocaleCode = Annotated[Locale, BeforeValidator(_locale)]
Currency = Annotated[
    str, Field(pattern="^[A-Z]{3}$"), Description("an ISO 4217 code of three capitals")
]
