"""Processes of the programs run the code of the programs, wherever a command is called."""

import asyncio
from pathlib import Path

import pytest

from agent.drill.processes import ProgramProcess, prepare_lone_agent
from agent.store.recovery.process import erase_in_process
from sync.runtime.identity import installed_version

PLANTED = "open({!r}, 'w').close()"


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory with a package `agent` of another user; return the file that it makes."""
    made = tmp_path / "made"
    package = tmp_path / "here" / "agent"
    package.mkdir(parents=True)
    for name in ("__init__", "__main__"):
        (package / f"{name}.py").write_text(PLANTED.format(str(made)))
    monkeypatch.chdir(package.parent)
    return made


@pytest.mark.process
def test_drill_in_a_directory_of_another_user_runs_none_of_its_code(
    planted: Path, tmp_path: Path
) -> None:
    process = ProgramProcess("agent", tmp_path / "agent", "")

    said = asyncio.run(process.output_of("--version"))

    assert installed_version() in said
    assert not planted.exists()


@pytest.mark.process
def test_salvage_in_a_directory_of_another_user_runs_none_of_its_code(
    planted: Path, tmp_path: Path
) -> None:
    asyncio.run(erase_in_process(tmp_path))

    assert not planted.exists()


@pytest.mark.process
@pytest.mark.parametrize(
    "variable", ["LOYALTY_AGENT__STORAGE__DIRECTORY", "loyalty_agent__storage__directory"]
)
def test_scratch_agent_never_uses_the_state_that_a_variable_names(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, scratch = tmp_path / "real", tmp_path / "scratch"
    monkeypatch.setenv(variable, str(real))

    async def start() -> None:
        process = prepare_lone_agent(scratch, 0, ("store", "till"))
        await process.start("run", "agent.serving")
        await process.stop()

    asyncio.run(start())

    assert scratch.exists()
    assert not real.exists()
