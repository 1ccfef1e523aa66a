"""A route carries what its model's spec says of limits and of the log; what was stored before is still read."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from pydantic import ValidationError

from tasks.rollout.stack import Stack
from trimtab.errors import SpecError
from trimtab.records import Release
from trimtab.serving.routes import ModelLimits, Route, RouteLimits, load_routes, save_routes
from trimtab.settings import Settings
from trimtab.spec import Limits, Serving

TESTS = Path(__file__).parents[1]
SAMPLES = TESTS / "contracts" / "samples"


def test_routes_that_the_first_release_stored_are_read_for_ever() -> None:
    """samples/routes-1.json knows neither limits nor a log policy: the gateway's count, and the log is required."""
    (route,) = load_routes(SAMPLES / "routes-1.json").values()
    assert (route.version, route.decision_threshold, len(route.features)) == ("3", 0.35, 2)
    assert (route.log_policy, route.limits) == ("required", RouteLimits())


def test_what_is_stored_is_read_again(tmp_path: Path) -> None:
    (route,) = load_routes(SAMPLES / "routes-1.json").values()
    changed = msgspec.structs.replace(route, log_policy="available", limits=RouteLimits(max_rows=7, max_body_bytes=9))
    save_routes(tmp_path / "routes.json", {"loan": changed})
    assert load_routes(tmp_path / "routes.json") == {"loan": changed}


@pytest.mark.parametrize(
    ("limits", "counting"),
    [
        (RouteLimits(), (10_000, 20_000, 8_388_608)),
        (RouteLimits(max_rows=5, max_queue_rows=6, max_body_bytes=7), (5, 6, 7)),
        (RouteLimits(max_rows=10**6, max_queue_rows=10**6, max_body_bytes=10**9), (10_000, 20_000, 8_388_608)),
    ],
)
def test_the_lower_limit_counts(limits: RouteLimits, counting: tuple[int, int, int]) -> None:
    """A data scientist may ask for less than the operator allows, not for more."""
    assert limits.within(Settings.from_env({})) == ModelLimits(*counting)


def test_a_limit_below_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="max_rows"):
        Serving(limits=Limits(max_rows=0))
    text = (SAMPLES / "routes-1.json").read_text().replace('"kind"', '"limits": {"max_rows": 0}, "kind"')
    (tmp_path / "routes.json").write_text(text)
    with pytest.raises(SpecError, match="max_rows"):
        load_routes(tmp_path / "routes.json")


def test_a_rollout_hands_the_specs_limits_and_log_policy_to_the_gateway(tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(TESTS / "models" / "loan", models / "loan")
    file = models / "loan" / "spec.py"
    text = file.read_text().replace("SPEC = ", "from trimtab.spec import Limits\n\nSPEC = ")
    serving = 'Serving(memory_mb=256, log_policy="available", limits=Limits(max_rows=5, max_queue_rows=50))'
    file.write_text(text.replace("Serving(memory_mb=256)", serving))
    settings = Settings.from_env({"TRIMTAB_HOME": str(tmp_path), "TRIMTAB_MODELS_DIR": str(models)})
    shutil.copytree(SAMPLES / "artifact-1-onnx", settings.artifacts_dir / "digest")
    release = Release(
        id="release-1",
        model="loan",
        version="1",
        version_id="version-1",
        candidate_id="candidate-1",
        image_id="image-1",
        artifact_digest="digest",
        runtime="process",
        endpoint="",
        cause_id="cause-1",
        since=datetime(2024, 1, 1, tzinfo=UTC),
    )
    with ExitStack() as resources:
        route = Stack(settings, resources).route(release, "http://127.0.0.1:9000")
    assert isinstance(route, Route)
    assert route.log_policy == "available"
    assert route.limits == RouteLimits(max_rows=5, max_queue_rows=50)
