"""Conformance of the running agent to its OpenAPI document, with generated requests."""

import json
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import schemathesis
from schemathesis import GenerationMode
from schemathesis.config import (
    ChecksConfig,
    CoveragePhaseConfig,
    ExamplesPhaseConfig,
    FuzzingPhaseConfig,
    GenerationConfig,
    PhasesConfig,
    PositiveDataAcceptanceConfig,
    ProjectConfig,
    ProjectsConfig,
    SchemathesisConfig,
    StatefulPhaseConfig,
)
from schemathesis.engine import events, from_schema
from schemathesis.engine.recorder import ScenarioRecorder

from agent.capture.refusals import ADDRESS_NOT_VALID, INVALID_CORRELATION_ID, NO_OPEN_SESSION
from tests.agent.api.test_openapi import document_of_api
from tests.support.agent.in_process import agent_in_a_thread, settings_in

pytestmark = pytest.mark.slow

SEED = 20260101
REQUESTS = {"SessionStart", "EmailAccepted", "EmailNotGiven"}
FURTHER_MEMBERS = {"OpenApiDocument", "DocumentInfo"}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with agent_in_a_thread(settings_in(tmp_path_factory.mktemp("document"))) as agent:
        yield f"http://{agent.host}:{agent.port}"


@dataclass(slots=True)
class Exploration:
    """Results of one test phase against the API."""

    failures: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    refusals_of_valid_requests: set[str] = field(default_factory=set)

    def add(self, scenario: ScenarioRecorder) -> None:
        for name, interaction in scenario.interactions.items():
            response = interaction.response
            assert response is not None, f"no answer to {interaction.request}"
            self.statuses[response.status_code] += 1
            meta = scenario.cases[name].value.meta
            if meta and meta.generation.mode is GenerationMode.POSITIVE:
                self._note_refusal(response.status_code, response.content)
        for checks in scenario.checks.values():
            found = [check.failure_info for check in checks if check.failure_info]
            self.failures += [f"{info.failure}\n{info.code_sample}" for info in found]

    def _note_refusal(self, status: int, content: bytes) -> None:
        if status == 400:
            self.refusals_of_valid_requests.add(json.loads(content)["errorMessage"])


def served_document(address: str) -> dict[str, object]:
    """Return the agent's document, more strict on answers, and less so on `locale`.

    An answer of this version has no member that is not described; the document leaves that open
    for later ones. `locale` may be anything: a wrong one is ignored, not refused; the document says
    string, or generated clients would have no type for it.
    """
    with urllib.request.urlopen(f"{address}/openapi.json") as answer:  # noqa: S310 - the test's own
        served: dict[str, Any] = json.load(answer)
    schemas = served["components"]["schemas"]
    for name in schemas.keys() - REQUESTS - FURTHER_MEMBERS:
        if "properties" in schemas[name]:
            schemas[name]["additionalProperties"] = False
    locale = schemas["SessionStart"]["properties"]["locale"]
    assert locale.pop("type") == ["string", "null"]
    return served


def explore(address: str, phase: str, max_examples: int) -> Exploration:
    """Send requests generated from the document, deterministically."""
    # A schema cannot express that a valid request is refused because of the session's state.
    checks = ChecksConfig(positive_data_acceptance=PositiveDataAcceptanceConfig(enabled=False))
    generation = GenerationConfig(deterministic=True, database="none", max_examples=max_examples)
    phases = PhasesConfig(
        examples=ExamplesPhaseConfig(enabled=phase == "examples"),
        coverage=CoveragePhaseConfig(enabled=phase == "coverage"),
        fuzzing=FuzzingPhaseConfig(enabled=phase == "fuzzing"),
        stateful=StatefulPhaseConfig(enabled=phase == "stateful"),
    )
    project = ProjectConfig(checks=checks, generation=generation, phases=phases)
    config = SchemathesisConfig(seed=SEED, projects=ProjectsConfig(default=project))
    schema = schemathesis.openapi.from_dict(served_document(address), config=config)
    schema.config.update(base_url=address)
    exploration = Exploration()
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            exploration.add(event.recorder)
        elif isinstance(event, events.FatalError | events.NonFatalError):
            exploration.failures.append(str(event))
    return exploration


@pytest.mark.parametrize(
    ("phase", "max_examples", "answers_at_least"),
    [("examples", 1, 3), ("coverage", 1, 100), ("fuzzing", 120, 200), ("stateful", 30, 100)],
)
def test_every_answer_conforms_to_the_document(
    address: str, phase: str, max_examples: int, answers_at_least: int
) -> None:
    exploration = explore(address, phase, max_examples)

    assert exploration.failures == []
    assert exploration.statuses.total() >= answers_at_least
    assert exploration.statuses[200] > 0
    assert max(exploration.statuses) < 500
    assert exploration.refusals_of_valid_requests <= {
        INVALID_CORRELATION_ID,  # id in use with other content
        NO_OPEN_SESSION,
        ADDRESS_NOT_VALID,
    }


def test_document_is_valid_openapi_3_1() -> None:
    schemathesis.openapi.from_dict(document_of_api()).validate()
