"""Doctor connects to every host in the URL of the database."""

import pytest

from sync.receiver.doctor.hosts import check_hosts
from sync.runtime.checks.check import Verdict
from tests.support.head_office.receiver import settings_in
from tests.support.head_office.replication import Pair, replicated_servers

pytestmark = [pytest.mark.process, pytest.mark.slow]


async def test_doctor_tells_the_primary_the_standby_a_silent_host_and_two_primaries(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.receiver.db.server.connect.HOST_SECONDS", 0.5)
    directory = tmp_path_factory.mktemp("hq")

    async def found(pair: Pair) -> tuple[Verdict, str]:
        (check,) = await check_hosts(settings_in(directory, database={"url": pair.url()}))
        text = check.found.replace(pair.primary.place, "one").replace(pair.standby.place, "two")
        return check.verdict, text

    with replicated_servers() as pair:
        healthy = await found(pair)
        pair.standby.freeze()
        silent = await found(pair)
        pair.standby.thaw()
        pair.standby.promote()
        split = await found(pair)

    assert healthy == (Verdict.PASS, "one is the primary; two is a standby")
    assert silent == (Verdict.WARNING, "one is the primary; two: no answer within 0.5 s")
    wanted = "more than one server can be written: one is the primary; two is the primary"
    assert split == (Verdict.FAULT, wanted)
