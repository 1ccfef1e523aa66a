"""Whatever schemathesis makes of the description that a running gateway serves is answered as the description says."""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.serving.stack import Stack


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    """The description of a gateway with one model of each kind."""
    stack = Stack(tmp_path_factory.mktemp("home"))
    try:
        stack.start_gateway()
        stack.serve_loan()
        yield schemathesis.openapi.from_url(f"{stack.url}/openapi.json")
        assert " ERROR " not in (stack.home / "gateway.log").read_text()
    finally:
        stack.stop()


CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.name)
def test_no_address_fails_and_every_answer_is_as_described(described, mode):
    """Requests that the description allows, and others; the failures of all addresses are shown together."""
    failures, called = [], []
    for result in described.get_all_operations():
        operation = result.ok()

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=12,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def call(case):
            called.append((case.operation.label, case.call_and_validate(checks=CHECKS).status_code))

        try:
            call()
        except Unsatisfiable:
            # An address that takes nothing has nothing to be wrong.
            assert mode is GenerationMode.NEGATIVE
        except FailureGroup as error:
            failures.append(f"{operation.label}: {error}")
    assert not failures, "\n\n".join(failures)
    assert len(called) > 100
    answered = {address for address, status in called if status == 200}
    if mode is GenerationMode.POSITIVE:
        assert {"POST /v2/models/loan/infer", "POST /invocations", "GET /metrics"} <= answered
