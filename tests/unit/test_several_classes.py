"""Models of several classes, stage by stage: from the target's text to a score a class and an outcome by name."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression

from trimtab.answers import answer_names, class_name, classes_of
from trimtab.backtest.files import past_rows
from trimtab.backtest.small_spec import SmallSpec, model_spec
from trimtab.decay.answers import answer_arrays, answer_types, of_classes, of_known_classes, scores_of, target_of
from trimtab.decay.importance import permutation_importance
from trimtab.decay.measuring import WindowRows, measure
from trimtab.decay.profile import profile, reference_profile
from trimtab.decay.reference import OUTCOME, write_reference
from trimtab.errors import (
    EvaluationError,
    OutcomeConflictError,
    ParityError,
    PredictionLogError,
    RequestError,
    SourceError,
    TrainingError,
)
from trimtab.models import load_model
from trimtab.pages.evaluation import plot_evaluation
from trimtab.predictions import Outcome, Outcomes, PredictionLog, read_window
from trimtab.predictions.bulk import NO_CLASS, Load, load_outcomes
from trimtab.predictions.outcome_files import Layout
from trimtab.predictions.profiles import window_profile
from trimtab.predictions.schema import (
    id_characters,
    id_text,
    log_schema,
    merge_schemas,
    new_packed_ids,
    new_prediction_ids,
)
from trimtab.scoring.app import ScorerApp
from trimtab.scoring.model import Artifact
from trimtab.serving.openapi_schemas import infer_answer, invocation_answer
from trimtab.serving.outcome_bodies import parse_outcomes
from trimtab.serving.protocol import Answers
from trimtab.serving.protocol.rows import Asked, Rows
from trimtab.serving.routes import Route, RouteFeature, check_route
from trimtab.serving.scorer import Scorer, _Reply
from trimtab.serving.switchboard import check_classes
from trimtab.spec import ModelSpec
from trimtab.training.artifacts import build_artifact
from trimtab.training.fitting import fit
from trimtab.training.parity import check_parity
from trimtab.training.snapshots import conform, feature_columns, load_rows
from trimtab.training.suite_draft import _of_target

MODEL = load_model(Path(__file__).parents[1] / "models", "parcel")
SPEC, CLASSES = MODEL.spec, MODEL.spec.target.classes
START, DAY = datetime(2024, 2, 1, tzinfo=UTC), timedelta(days=1)
SAID = np.array([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7], [0.2, 0.5, 0.3]])


def rows(days: int = 2) -> pa.Table:
    end = START + days * DAY
    return conform(SPEC, load_rows(MODEL, START, end, end + DAY), START, end, 1)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    table = rows()
    _, estimator = fit(SPEC, SPEC.trainers[0], MODEL.function("training:boosting"), table)
    return Artifact.load(build_artifact(SPEC, estimator, table, tmp_path_factory.mktemp("artifacts")).folder)


def route(classes: tuple[str, ...] = CLASSES, kind: str = "multiclass", **changes: object) -> Route:
    features = (RouteFeature("distance", "number"),)
    return msgspec.structs.replace(
        Route("parcel", "1", "release-1", "http://127.0.0.1:1", "", kind, features, classes=classes), **changes
    )


def log_of(folder: Path, classes: tuple[str, ...] = CLASSES, scores: np.ndarray = SAID) -> list[str]:
    """Log a row for each score; returns the prediction ids."""
    schema, ids, n = log_schema([("distance", "number")], classes), new_prediction_ids(len(scores)), len(scores)
    columns = {
        "prediction_id": ids,
        **{"request_id": [None] * n, "version": ["1"] * n, "release_id": ["release-1"] * n},
        **{"event_time": [START] * n, "logged_at": [START] * n, "caller": [None] * n, "distance": [1.5] * n},
        **answer_arrays(classes, scores),
    }
    arrays = [pa.array(columns[field.name], field.type) for field in schema]
    PredictionLog(folder).append(pa.RecordBatch.from_arrays(arrays, schema=schema))
    return [id_text(key) for key in ids]


def test_a_class_that_no_release_knows_yet_has_no_chance_and_hides_no_loss(tmp_path: Path):
    """Added to the spec, it is null in the log and 0 to the metrics, and a window is judged as if it were not there;
    but where it came true all the same it counts."""
    later = SPEC.model_copy(update={"target": SPEC.target.model_copy(update={"classes": (*CLASSES, "lost")})})
    log_of(tmp_path / "log")
    read = read_window(tmp_path / "log", START, START + DAY, START + DAY, later.answer_names)
    assert read["score.lost"].null_count == 3
    assert scores_of(later, read).tolist() == [[*row, 0.0] for row in SAID.tolist()]
    with pytest.raises(PredictionLogError, match="ever had a column 'weight'"):
        PredictionLog(tmp_path / "log").read(START, START + DAY, ["weight"])

    table = rows()
    scores = np.random.default_rng(0).dirichlet([1, 1, 1], table.num_rows)
    reference = write_reference(tmp_path / "reference", SPEC, table, table, scores)
    assert of_known_classes(later, reference.columns, np.array([0.0, 2.0])).target.classes == CLASSES
    assert of_known_classes(later, reference.columns, np.array([0.0, 3.0])) == later
    answers = pa.table(answer_arrays(CLASSES, scores))
    features = table.select([SPEC.event_time, *SPEC.feature_names])
    said = pa.table([*features.columns, *answers.columns], [*features.column_names, *answers.column_names])
    mature = said.append_column(OUTCOME, pa.array(target_of(SPEC, table).astype(float)))
    profiled = profile(said, reference.profile.bins())
    end = START + 2 * DAY
    window = WindowRows(start=START, end=end, as_of=end, incoming=said, profile=profiled, mature=mature)
    assert measure(later, reference, window) == measure(SPEC, reference, window)


def test_the_names_of_answers_follow_from_the_classes():
    """One score is ``score``; several are one each and a label; columns say which classes they are of."""
    assert answer_names(()) == ("score",)
    assert answer_names(("a", "b.c", "d")) == ("score.a", "score.b.c", "score.d", "label")
    assert classes_of(["x", "score.a", "score.b.c", "score.d", "label"]) == ("a", "b.c", "d")
    assert classes_of(["score.x", "label", "score"]) == ()
    assert [class_name(value) for value in (3, 3.0, "3", np.float64(3), 2.5)] == ["3", "3", "3", "3", "2.5"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"features": [{"name": "label", "type": "number"}], "protected": (), "gates": {}}, r"features are named"),
        ({"features": [{"name": "score.x", "type": "number"}], "protected": (), "gates": {}}, r"features are named"),
        ({"policy": {"minimum_selection_ratio": 0.8}}, "policy.minimum_selection_ratio is 0.8; of several classes"),
        ({"policy": {"fairness": {"maximum_true_positive_rate_gap": 0.1}}}, "maximum_true_positive_rate_gap is 0.1"),
    ],
)
def test_a_spec_that_several_classes_give_no_sense_is_refused(change: dict, said: str):
    """Names that the answers need, and limits of a selection, are refused with the field and why."""
    with pytest.raises(ValueError, match=said):
        ModelSpec.model_validate({**SPEC.model_dump(), **change})


def test_a_target_of_numbers_is_kept_as_their_digits():
    """Whole numbers name classes as texts do; what is no class is refused with its value, as is a missing one."""
    spec = SPEC.model_copy(update={"target": SPEC.target.model_copy(update={"classes": ("1", "2", "3")})})
    frame = rows().slice(0, 3).to_pandas()
    assert conform(spec, frame.assign(arrival=[3.0, 1, 2]), START, START + 2 * DAY, 1)["arrival"].to_pylist() == [
        *("3", "1", "2")
    ]
    for values, said in (([1, 2, 7], "holds '7'"), ([1, None, 2], "is missing in 1 of 3 rows")):
        with pytest.raises(SourceError, match=said):
            conform(spec, frame.assign(arrival=values), START, START + 2 * DAY, 1)


def test_a_class_without_a_training_row_is_refused():
    """A model would give it no chance for ever: the error names it and what to do."""
    table = rows()
    without = table.filter(pa.array([name != "late" for name in table["arrival"].to_pylist()]))
    with pytest.raises(TrainingError, match=r"has target 'late'; .* choose a longer training.window"):
        fit(SPEC, SPEC.trainers[0], MODEL.function("training:boosting"), without)


def test_an_estimator_whose_classes_lie_otherwise_is_refused(tmp_path: Path):
    """Its probabilities would stand under other names than the target's."""
    table = rows()
    names = np.array(table["arrival"].to_pylist())
    estimator = LogisticRegression().fit(np.zeros((len(names), 4)), names)
    with pytest.raises(TrainingError, match=r"the places of .* 0 to 2, in that order"):
        build_artifact(SPEC, estimator, table, tmp_path)


def test_the_artifact_scores_every_class_and_knows_their_names(artifact: Artifact):
    """Probabilities a row and class that add up to 1, in the target's order, as the golden rows have them."""
    table = rows()
    scores = artifact.predict(artifact.encode(feature_columns(SPEC, table)))
    assert artifact.manifest.classes == CLASSES
    assert scores.shape == (table.num_rows, 3)
    assert np.allclose(scores.sum(axis=1), 1)
    assert np.mean(scores.argmax(axis=1) == target_of(SPEC, table)) > 0.8
    assert np.shape(artifact.golden().scores) == (32, 3)
    assert artifact.predict(np.empty((0, 4))).shape == (0, 3)


def test_parity_holds_the_likeliest_class_too():
    """Scores within the tolerance whose order differs are refused, as is one score that is off."""
    tied = np.array([[0.4, 0.4 - 1e-9, 0.2]])
    check_parity(tied, tied, None)
    with pytest.raises(ParityError, match="1 of 1 labels differ"):
        check_parity(tied, tied[:, [1, 0, 2]], None)
    with pytest.raises(ParityError, match="1 of 3 scores differ"):
        check_parity(SAID, SAID + np.array([[0, 0, 1e-3], [0, 0, 0], [0, 0, 0]]), None)


def test_a_model_that_lacks_a_class_gives_it_no_chance():
    """A champion from before a class was added is judged beside those that know it; one that knows more is not."""
    assert of_classes(("a", "b", "c", "d"), ("a", "c", "b"), SAID)[0].tolist() == [0.7, 0.1, 0.2, 0.0]
    with pytest.raises(EvaluationError, match=r"knows classes \['c'\]"):
        of_classes(("a", "b"), ("a", "b", "c"), SAID)


def test_importance_of_several_classes_is_by_their_log_loss():
    """The feature that decides has all of it."""
    random = np.random.default_rng(0)
    table = pa.table({"decides": random.integers(0, 3, 600), "idle": random.random(600)})

    def predict(table: pa.Table) -> np.ndarray:
        return np.eye(3)[table["decides"].to_numpy()] * 0.9 + 0.1 / 3

    found = permutation_importance(predict, "multiclass", ["decides", "idle"], table, table["decides"].to_numpy())
    assert found == {"decides": 1.0, "idle": 0.0}


def test_an_evaluation_is_drawn_and_a_suite_drafted():
    """The picture is that of the likeliest class; the suite holds the target to its classes."""
    picture = plot_evaluation("multiclass", np.array([0, 2, 2]), {"one": SAID})
    assert picture.startswith("data:image/png;base64,")
    wanted = [item for item in _of_target(SPEC, rows()) if "value_set" in item["kwargs"]]
    assert [item["kwargs"]["value_set"] for item in wanted] == [list(CLASSES)]


def test_the_log_keeps_a_score_a_class_and_outcomes_by_place(tmp_path: Path):
    """What is read back is what was said; an outcome is a number to metrics and a name to people."""
    ids = log_of(tmp_path)
    log, outcomes = PredictionLog(tmp_path), Outcomes(tmp_path)
    assert log.classes() == CLASSES
    outcomes.add([Outcome(ids[0], 2.0, START)])
    window = read_window(tmp_path, START, START + DAY, START + DAY)
    assert scores_of(SPEC, window).tolist() == SAID.tolist()
    assert window["label"].to_pylist() == ["early", "late", "on time"]
    assert window["outcome"].to_pylist() == [2.0, None, None]
    assert [one["value"] for one in outcomes.history(ids[0])] == ["late"]
    with pytest.raises(OutcomeConflictError, match="has the outcome late; early contradicts it"):
        outcomes.add([Outcome(ids[0], 0.0, START)])


def test_a_class_that_is_added_later_comes_after_the_others(tmp_path: Path):
    """Rows from before have no score of it; places stay what they were."""
    log_of(tmp_path)
    log_of(tmp_path, (*CLASSES, "lost"), np.array([[0.1, 0.2, 0.3, 0.4]]))
    log = PredictionLog(tmp_path)
    log.seal()
    assert log.classes() == (*CLASSES, "lost")
    read = log.read(START, START + DAY)
    assert read.column_names[-5:] == ["score.early", "score.on time", "score.late", "score.lost", "label"]
    assert read["score.lost"].to_pylist() == [None, None, None, 0.4]
    assert "score" not in merge_schemas([log_schema([], CLASSES)]).names


def test_profiles_of_a_window_count_each_class_and_the_label(tmp_path: Path):
    """Of spool and segment alike; of another release only features are counted."""
    log_of(tmp_path)
    log = PredictionLog(tmp_path)
    log.seal()
    log_of(tmp_path)
    table = pa.table({"distance": [1.0, 2.0]})
    features = [feature for feature in SPEC.features if feature.name == "distance"]
    answers = pa.table(answer_arrays(CLASSES, SAID))
    bins = reference_profile(table, features, answers, answer_types(SPEC)).bins("distance", *SPEC.answer_names)
    found = window_profile(log, START, START + DAY, bins, "release-1")
    assert {column.bins.column: column.rows for column in found.columns} == dict.fromkeys(
        ("distance", *SPEC.answer_names), 6
    )
    assert dict(
        zip(found.column("label").bins.categories, found.column("label").counts, strict=False)
    ) == dict.fromkeys(sorted(CLASSES), 2)
    other = window_profile(log, START, START + DAY, bins, "release-2")
    assert (other.column("distance").rows, other.column("score.late").rows) == (6, 0)


def test_outcomes_are_loaded_from_a_file_by_the_names_of_classes(tmp_path: Path):
    """What names none is set aside with the classes; a conflict says both by name."""
    ids = log_of(tmp_path / "log")
    file = tmp_path / "outcomes.csv"
    file.write_text(f"prediction_id,value\n{ids[0]},late\n{ids[1]},lost\n{ids[2]},1\n{ids[0]},early\n")
    log = PredictionLog(tmp_path / "log")
    report = load_outcomes(file, Outcomes(tmp_path / "log"), log, Load(Layout()), tmp_path / "rejects.csv")
    assert (report.accepted, report.rejected[NO_CLASS]) == (1, 2)
    rejects = (tmp_path / "rejects.csv").read_text()
    assert "the outcome is late; --corrections replaces it" in rejects
    assert rejects.count(f"it must be one of {list(CLASSES)}") == 2


@pytest.mark.parametrize("kind", ["json", "lines", "csv"])
def test_posted_outcomes_name_a_class(kind: str):
    """In each form; what names none is refused with the classes."""

    def post(value: str) -> np.ndarray:
        one = json.dumps({"prediction_id": "p", "value": value})
        body, content_type = {
            "json": (f'{{"outcomes": [{one}]}}', b"application/json"),
            "lines": (one, b"application/x-ndjson"),
            "csv": (f"prediction_id,value\np,{value}\n", b"text/csv"),
        }[kind]
        return parse_outcomes(body.encode(), content_type, False, 0, CLASSES).values

    assert post("on time").tolist() == [1.0]
    with pytest.raises(RequestError, match=r"'lost'; it must be one of \['early', 'on time', 'late'\]"):
        post("lost")


def test_a_text_is_no_outcome_of_one_score():
    """Not even one that reads like a number."""
    body = b'{"outcomes": [{"prediction_id": "p", "value": "1"}]}'
    with pytest.raises(RequestError, match="the value is '1'; it must be a finite number"):
        parse_outcomes(body, None, False, 0)


def test_a_route_that_moves_classes_is_refused(tmp_path: Path):
    """Outcomes are kept by place: a class may be added at the end, and one score is no class."""
    log_of(tmp_path)
    log = PredictionLog(tmp_path)
    check_classes(log, route((*CLASSES, "lost")), route())
    for wrong in (("late", "on time", "early"), CLASSES[:2], ()):
        with pytest.raises(RequestError, match="was logged with the classes"):
            check_classes(log, route(wrong), None)
    nothing = PredictionLog(tmp_path / "none")
    check_classes(nothing, route(), None)
    with pytest.raises(RequestError, match="was logged with one score"):
        check_classes(nothing, route(), route((), "binary"))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (route(("a", "b")), "three or more"),
        (route(("a", "b", "b")), "three or more"),
        (route(CLASSES, "binary"), "three or more"),
        (route(features=(RouteFeature("label", "number"),)), "named as columns of the log"),
    ],
)
def test_a_route_whose_classes_do_not_fit_is_refused(wrong: Route, said: str):
    """Before anything is asked of its scorer."""
    with pytest.raises(RequestError, match=said):
        check_route("parcel", wrong)


def test_answers_hold_a_score_a_class_and_the_likeliest():
    """As V2 in JSON and binary, and as MLflow has it; the OpenAPI description allows them."""
    packed = new_packed_ids(3)
    answers, ids = Answers(route()), id_characters(packed)
    body, length = answers.infer(Rows([], 3, [0] * 3, None, ""), ids, SAID)
    answer = json.loads(body)
    assert length is None
    assert answer["parameters"] == {"release_id": "release-1", "classes": list(CLASSES)}
    score, label, _ = answer["outputs"]
    assert (score["shape"], score["data"]) == ([3, 3], SAID.tolist())
    assert label == {"name": "label", "datatype": "BYTES", "shape": [3], "data": ["early", "late", "on time"]}
    asked = Asked(("label", "score"), frozenset({"label", "score"}))
    body, length = answers.infer(Rows([], 3, [0] * 3, None, "", asked=asked), ids, SAID)
    assert body[length:].endswith(SAID.tobytes())
    said = json.loads(answers.invocation(ids, SAID))["predictions"][1]
    assert said == {
        "score": dict(zip(CLASSES, SAID[1], strict=True)),
        "label": "late",
        "prediction_id": id_text(packed[16:32]),
    }
    assert answers.outputs == [("score", "FP64", [-1, 3]), ("label", "BYTES", [-1]), ("prediction_id", "BYTES", [-1])]
    kinds = invocation_answer(route())["properties"]["predictions"]["items"]["properties"]
    assert kinds["score"]["required"] == list(CLASSES)
    assert kinds["label"] == {"enum": list(CLASSES)}
    of_score = infer_answer(route())["properties"]["outputs"]["items"]["anyOf"][0]["properties"]["data"]["items"]
    assert (of_score["minItems"], of_score["maxItems"]) == (3, 3)


@pytest.mark.parametrize("data", [SAID.tolist(), SAID.ravel().tolist()])
def test_a_scorer_may_answer_a_list_a_row_or_all_in_a_row(data: list):
    """As V2 allows; anything but a number a row and class is refused."""
    scorer = Scorer(route())

    def scores(data: list) -> np.ndarray:
        body = json.dumps({"outputs": [{"name": "score", "datatype": "FP64", "shape": [3, 3], "data": data}]})
        return scorer._scores(_Reply(200, body.encode(), None), 3)

    assert scores(data).tolist() == SAID.tolist()
    with pytest.raises(Exception, match=r"one output 'score' of \[3, 3\] finite numbers"):
        scores(data[:2])


def test_a_scorer_states_its_classes_and_answers_them(artifact: Artifact):
    """Metadata names shape and classes; an answer holds a list a row."""
    app = ScorerApp(artifact, "1")
    metadata = json.loads(app._pages["/v2/models/parcel"])
    assert metadata["outputs"] == [{"name": "score", "datatype": "FP64", "shape": [-1, 3]}]
    assert metadata["classes"] == list(CLASSES)
    tensors = [
        ("distance", "FP64", 30.5),
        ("weight", "INT64", 3),
        ("carrier", "BYTES", "van"),
        ("express", "BOOL", True),
    ]
    inputs = [{"name": name, "datatype": kind, "shape": [1], "data": [value]} for name, kind, value in tensors]
    body, _ = app.infer(json.dumps({"inputs": inputs}).encode())
    output = json.loads(body)["outputs"][0]
    assert output["shape"] == [1, 3]
    assert sum(output["data"][0]) == pytest.approx(1)


def test_a_file_is_a_history_of_classes_with_what_a_deployed_model_said():
    """Classes are those that the file holds; an outcome that is not known is none; scores are a column a class."""
    frame = pd.DataFrame(
        {
            "at": pd.to_datetime([START + DAY * day for day in range(4)]),
            "x": [1.0, 2.0, 3.0, 4.0],
            "y": [3, None, 1, 2],
            **{f"p.{name}": [0.2, 0.3, 0.4, 0.5] for name in ("1", "2", "3")},
        }
    )
    table = pa.Table.from_pandas(frame)
    spec, _ = model_spec(SmallSpec(time="at", target="y", kind="multiclass", features=("x",), score="p"), "f", table)
    assert spec.target.classes == ("1", "2", "3")
    history = past_rows(spec, table, "p")
    assert np.array_equal(history.outcomes, [2, np.nan, 0, 1], equal_nan=True)
    assert scores_of(spec, history.table).shape == (4, 3)
    with pytest.raises(SourceError, match=r"'p.2' holds 7.0 .* a score is a probability"):
        past_rows(spec, table.set_column(4, "p.2", pa.array([0.1, 7.0, 0.1, 0.1])), "p")
