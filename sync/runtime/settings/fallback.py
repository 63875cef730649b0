"""The configuration to fall back to: the last one that worked, with no more access than both allow.

A wrong configuration may be the one that closes an address, an origin or a token. The last one
that worked must not open it again.
"""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from pydantic import ValidationError

from sync.runtime.settings.names import dotted, value_of
from sync.runtime.settings.readable import Readable
from sync.runtime.settings.schema import SettingsTree
from sync.runtime.settings.toml_lines import SettingPath
from sync.runtime.settings.types import is_loopback

Tree = TypeVar("Tree", bound=SettingsTree)
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class AccessPaths:
    """The settings that decide on access to a service.

    `lists`: only entries of both configurations are allowed. `flags`: true opens. `equal`: a text
    that is empty unless both have it. `guards`: files with a token, or with a certificate and its
    key; one that is not set opens.
    """

    host: SettingPath
    guards: tuple[tuple[SettingPath, ...], ...]
    lists: tuple[SettingPath, ...] = ()
    flags: tuple[SettingPath, ...] = ()
    equal: tuple[SettingPath, ...] = ()


@dataclass(frozen=True, slots=True)
class Fallback(Generic[Tree]):
    """The settings of the last configuration, with no more access than the present one allows.

    `since`: when they were found to work (RFC 3339). `changed`: the settings that were narrowed.
    `lost_guards`: those that only the present configuration sets, to an unusable file.
    """

    settings: Tree
    changed: tuple[str, ...] = ()
    lost_guards: tuple[str, ...] = ()
    since: str = ""


def narrow(last: Tree, present: Readable[Tree], access: AccessPaths) -> Fallback[Tree] | None:
    """Return `last` without the access that `present` denies; None if that is not valid.

    Unusable values of `present` decide nothing. If a guard is lost, the service listens on
    loopback only.
    """
    lost = tuple(
        dotted(guard[0])
        for guard in access.guards
        if present.unusable.intersection(guard) and not value_of(last, guard[0])
    )
    values = dict(_values(last, present, access))
    if lost and not is_loopback(str(values[access.host])):
        values[access.host] = _LOOPBACK
    # The second attempt is for an address that is open without the guards that it needs.
    for attempt in (values, values | {access.host: _LOOPBACK}):
        try:
            settings = _replaced(last, attempt)
        except ValidationError:
            continue
        changed = (path for path, value in attempt.items() if value != value_of(last, path))
        return Fallback(settings, tuple(map(dotted, changed)), lost)
    return None


def _values(
    last: Tree, present: Readable[Tree], access: AccessPaths
) -> Iterator[tuple[SettingPath, object]]:
    unknown = present.unusable | present.lost
    for path in (access.host, *access.lists, *access.flags, *access.equal):
        before, now = value_of(last, path), value_of(present.settings, path)
        if path in unknown or before == now:
            yield path, before
        elif path == access.host:
            yield path, _narrower_host(str(before), str(now))
        elif path in access.lists:
            allowed = cast("tuple[str, ...]", now)
            yield path, tuple(one for one in cast("tuple[str, ...]", before) if one in allowed)
        else:
            yield path, "" if path in access.equal else False
    for guard in access.guards:
        is_set = not unknown.intersection(guard) and value_of(present.settings, guard[0])
        source = present.settings if is_set else last
        yield from ((path, value_of(source, path)) for path in guard)


def _narrower_host(one: str, other: str) -> str:
    """Return the address that both hosts cover; loopback is always allowed."""
    if is_loopback(one) or is_loopback(other):
        return one if is_loopback(one) else other
    if _is_every_address(one):
        return other
    return one if _is_every_address(other) else _LOOPBACK


def _is_every_address(host: str) -> bool:
    return ipaddress.ip_address(host).is_unspecified


def _replaced(tree: Tree, values: dict[SettingPath, object]) -> Tree:
    """Return `tree` with `values`; its sections are validated, as by `load`."""
    changes: dict[str, dict[str, object]] = {}
    for (section, name), value in values.items():
        changes.setdefault(section, {})[name] = value
    sections = {
        name: type(section).model_validate(section.model_dump() | changes[name])
        for name in changes
        if (section := getattr(tree, name)) is not None
    }
    return tree.model_copy(update=sections)
