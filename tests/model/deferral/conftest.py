"""A template of the agent's files, made once."""

from collections.abc import Iterator

import pytest

from tests.model.deferral.history import Histories, deferral_histories


@pytest.fixture(scope="package")
def deferrals() -> Iterator[Histories]:
    """Run histories of deferral."""
    with deferral_histories() as running:
        yield running
