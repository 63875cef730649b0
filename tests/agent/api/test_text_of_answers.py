"""Text of answers reaches the receipt as it is, also by clients that guess the encoding.

Perl's LWP decodes no JSON body, whatever its charset, and .NET's WebClient decodes by the machine's
code page without one: both printed `fidÃ©litÃ©`. So every answer says its charset and is ASCII.
"""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.agent.in_process import SESSIONS, Agent, agent_in_a_thread, settings_in

JSON = "application/json; charset=utf-8"
FRENCH = '{"correlationId":"päron-🛒","locale":"fr-CA"}'.encode()
LWP = f"""
use LWP::UserAgent; use JSON::PP; binmode STDOUT, ":utf8";
my $agent = LWP::UserAgent->new; $agent->no_proxy("127.0.0.1");
my $answer = $agent->post($ARGV[0] . "{SESSIONS}",
    Content => '{{"correlationId":"x","locale":"fr-CA"}}');
print JSON::PP->new->decode($answer->decoded_content)->{{receiptMessage}};
"""


async def test_answers_are_ascii_and_say_their_charset(shared_agent: Agent) -> None:
    answer = await shared_agent.start_session(FRENCH)

    assert answer.header("Content-Type") == JSON
    assert answer.body.isascii()
    assert answer.members()["sessionCorrelationId"] == "päron-🛒"
    assert "programme de fidélité" in str(answer.members()["receiptMessage"])


async def test_regular_path_and_errors_are_the_same(shared_agent: Agent) -> None:
    asked = await shared_agent.start_session(FRENCH, Expect="100-continue")
    again = await shared_agent.start_session(FRENCH)
    error = await shared_agent.set_email("x", '{"status":"accepté"}'.encode())
    status = await shared_agent.get("/agent/v1/status")

    assert asked.body == again.body
    for answer in (asked, error, status):
        assert answer.header("Content-Type") == JSON
        assert answer.body.isascii()
    assert error.members()["errorMessage"] == "Email capture option accepté is not supported!"


async def test_byte_order_mark_before_the_json_is_ignored(shared_agent: Agent) -> None:
    """.NET's `StreamWriter` with `Encoding.UTF8` writes one."""
    mark = b"\xef\xbb\xbf"

    marked = await shared_agent.start_session(mark + b'{"correlationId":"marked"}')
    repeated = await shared_agent.start_session(b'{"correlationId":"marked"}')
    answered = await shared_agent.set_email("marked", mark + b'{"status":"declined"}')

    assert (marked.status, answered.status) == (200, 200)
    assert repeated.receipt == marked.receipt
    assert shared_agent.bodies() == [b'{"correlationId":"marked"}', b'{"status":"declined"}']


@pytest.mark.process
def test_perl_prints_a_receipt_without_damage(tmp_path: Path) -> None:
    perl = shutil.which("perl")
    if perl is None or subprocess.run([perl, "-MLWP::UserAgent", "-e1"], check=False).returncode:
        pytest.skip("this machine has no Perl with LWP (Debian: libwww-perl)")
    with agent_in_a_thread(settings_in(tmp_path)) as agent:
        url = f"http://127.0.0.1:{agent.port}"
        run = subprocess.run(
            [perl, "-e", LWP, url], capture_output=True, check=True, encoding="utf-8"
        )

    assert "programme de fidélité" in run.stdout
    assert json.dumps(run.stdout).count("\\u00c3") == 0
