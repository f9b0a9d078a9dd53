"""The description of the API is true: what it allows is answered as it says, and what it forbids is refused."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import schemathesis
from fastapi import FastAPI
from schemathesis import GenerationMode

from api.app import create_app
from core.index import Index, open_index
from core.settings import Settings

KEY, HOST = "the-key", "testserver"  # the name that the tool asks for
EXAMPLES = 6  # of each operation, the same in every run


@pytest.fixture(scope="module")
def opened(index_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Index, Path]]:
    """An index that may be written to."""
    folder = tmp_path_factory.mktemp("openapi") / "index"
    shutil.copytree(index_folder, folder)
    with open_index(Settings(index=str(folder), offline=True)) as index:
        yield index, folder


def app_of(opened: tuple[Index, Path], **settings: object) -> FastAPI:
    """The application; jobs wait, so that what is asked for changes nothing beside the requests."""
    app = create_app(
        opened[0], Settings(index=str(opened[1]), offline=True, vector_cache_mb=0, allowed_hosts=HOST, **settings)
    )
    app.state.jobs.stop()
    return app


def check(app: FastAPI, mode: GenerationMode, n_examples: int, headers: dict[str, str] | None = None) -> set[str]:
    """Have every operation answer what its description allows, or forbids, and hold the answers to it.

    Returns the operations that have done what they were asked for.
    """
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    # Filters have a grammar, and some fields hold only beside others: no schema states that, and 422 is documented.
    acceptance = schema.config.checks.positive_data_acceptance
    acceptance.expected_statuses = [*acceptance.expected_statuses, "422"]
    rejection = schema.config.checks.negative_data_rejection
    rejection.expected_statuses = [*rejection.expected_statuses, "413"]  # too much of what is wrong
    findings, done = [], set()
    for found in schema.get_all_operations():
        operation = found.ok()

        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        @hypothesis.settings(
            max_examples=n_examples,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        def answer(case: schemathesis.Case) -> None:
            response = case.call(headers=headers)
            if response.status_code < 300:
                done.add(case.operation.label)
            case.validate_response(response, headers=headers)

        try:
            answer()
        except hypothesis.errors.Unsatisfiable:
            assert mode is GenerationMode.NEGATIVE  # nothing about this operation can be wrong
        except BaseExceptionGroup as error:
            findings += error.exceptions
    assert not [str(finding) for finding in findings]
    return done


def test_what_is_allowed_without_keys(opened: tuple[Index, Path]):
    done = check(app_of(opened), GenerationMode.POSITIVE, EXAMPLES)
    assert done >= {"POST /v1/search", "POST /v1/context", "POST /v1/documents", "POST /v1/report", "GET /v1/jobs"}


def test_what_is_forbidden_without_keys(opened: tuple[Index, Path]):
    check(app_of(opened), GenerationMode.NEGATIVE, EXAMPLES)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_with_a_key(opened: tuple[Index, Path], mode: GenerationMode):
    check(app_of(opened, api_keys=KEY), mode, 2, {"Authorization": f"Bearer {KEY}"})
