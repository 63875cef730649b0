"""The descriptor limit: raised where that is allowed."""

import resource

import pytest

from sync.runtime.network.descriptors import connections_within_limit, raise_descriptor_limit


@pytest.mark.parametrize("error", [PermissionError(), ValueError()])
def test_process_starts_where_a_sandbox_forbids_to_raise_the_limit(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def forbid(*_: object) -> None:
        raise error

    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_024, 4_096))
    monkeypatch.setattr(resource, "setrlimit", forbid)
    raise_descriptor_limit()
    assert connections_within_limit(8_192) == 1_024 - 256
