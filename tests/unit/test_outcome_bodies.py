"""A post of outcomes, in each of its forms, means the same; what is wrong is named with its place."""

import json

import pytest

from tests.prediction_rows import T0, make_rows
from trimtab.errors import OutcomeConflictError, RequestError, UnknownPredictionError
from trimtab.predictions import Outcomes, PredictionLog, Receipt
from trimtab.predictions.schema import id_text, microseconds
from trimtab.serving.outcome_bodies import add_posted, parse_outcomes

KEY = "01a20724-2827-701d-b204-c0f625df39a4"
NOW = microseconds(T0)
OUTCOMES = [
    {"prediction_id": KEY, "value": 1, "observed_at": "2024-01-02T00:00:00+01:00", "correction": True},
    {"prediction_id": KEY, "value": 0},
]
CSV = f"prediction_id,value,observed_at,correction\n{KEY},1,2024-01-02T00:00:00+01:00,true\n{KEY},0,,\n"
JSON, LINES = json.dumps({"outcomes": OUTCOMES}), "".join(json.dumps(each) + "\n" for each in OUTCOMES)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (None, JSON),
        (b"application/json", JSON),
        (b"application/x-ndjson", LINES),
        (b"application/jsonl; charset=utf-8", LINES),
        (b"Text/CSV; charset=utf-8", CSV),
        (b"text/csv", "\ufeff" + CSV.replace("\n", "\r\n")),
    ],
)
def test_each_form_states_the_same(content_type, body):
    posted = parse_outcomes(body.encode(), content_type, True, NOW)
    assert list(posted.prediction_ids) == [KEY, KEY]
    assert posted.values.tolist() == [1.0, 0.0]
    assert posted.observed_at.tolist() == [NOW + 23 * 3_600_000_000, NOW]
    assert posted.corrections.tolist() == [True, False]


@pytest.mark.parametrize("empty", [b'{"outcomes": []}', b"prediction_id,value\n"])
def test_nothing_may_be_posted(tmp_path, empty):
    posted = parse_outcomes(empty, b"text/csv" if empty[0] == ord("p") else None, True, NOW)
    log = PredictionLog(tmp_path)
    assert add_posted(Outcomes(tmp_path, log), log, posted) == Receipt(0, 0, 0)


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (f"prediction_id,value\n{KEY},2\n", "line 2 of the CSV: value is '2'; it of a binary model must be 0 or 1"),
        (f"prediction_id,value\n{KEY},1\n{KEY},x\n", "line 3 of the CSV: value is 'x'; it must be a finite number"),
        (f"prediction_id,value,observed_at\n{KEY},1,now\n", "line 2 of the CSV: observed_at is 'now'; it must be"),
        (f"prediction_id,value,correction\n{KEY},1,now\n", "line 2 of the CSV: correction is 'now'; it must be true"),
        ("prediction_id,value\n,1\n", "line 2 of the CSV: the id is ''; it must be there"),
        (f"prediction_id,value\n{KEY}\n", "line 2 of the CSV has 1 cells, where the header has 2"),
        ("prediction_id\n", "the body has no column 'value'; its columns are ['prediction_id']"),
        ("", "has no column 'prediction_id'"),
        ("prediction_id,value,colour\n", "has a column 'colour'; its columns may be prediction_id, request_id, value"),
        ("prediction_id,request_id,value\n", "it must have one of them"),
        ("prediction_id\r,value\n", "the CSV has no header"),
    ],
)
def test_a_bad_csv_is_refused_with_its_place(body, part):
    with pytest.raises(RequestError, match=r"CSV|body") as refusal:
        parse_outcomes(body.encode(), b"text/csv", True, NOW)
    assert refusal.value.status == 400
    assert part in str(refusal.value)


@pytest.mark.parametrize(
    ("content_type", "body", "part"),
    [
        (None, '{"outcomes": [{"value": 1}]}', "outcome 0 must have one of prediction_id and request_id"),
        (None, '{"outcomes": [{"value": 1, "prediction_id": "a", "request_id": "b"}]}', "and not both"),
        (None, '{"outcomes": [{"value": 1e999, "prediction_id": "a"}]}', ""),
        (b"application/x-ndjson", '{"value": 1, "request_id": "b"}\n{', "is not one outcome in JSON a line"),
        (b"application/x-ndjson", '{"value": 1, "request_id": "b"}\n{"value": true}', "outcome 1 must have one of"),
    ],
)
def test_a_bad_outcome_in_json_is_refused_with_its_place(content_type, body, part):
    with pytest.raises(RequestError, match="outcome") as refusal:
        parse_outcomes(body.encode(), content_type, False, NOW)
    assert refusal.value.status == 400
    assert part in str(refusal.value)


@pytest.fixture
def log(tmp_path):
    """Four predictions; two of them answered one request."""
    made = PredictionLog(tmp_path / "loan")
    made.append(make_rows(2, request_id=["order-1", "order-2"]))
    made.seal()
    made.append(make_rows(2, request_id=["batch", "batch"]))
    return made


def post(log, *outcomes):
    posted = parse_outcomes(json.dumps({"outcomes": outcomes}).encode(), None, False, NOW)
    return add_posted(Outcomes(log.folder, log), log, posted)


def test_an_outcome_may_name_the_callers_request(log):
    """Beside those that name predictions, and judged alike."""
    ids = [id_text(key) for key in log.read(T0, T0.replace(year=2025), ["prediction_id"])["prediction_id"].to_pylist()]
    mixed = [{"request_id": "order-2", "value": 1}, {"prediction_id": ids[0], "value": 0}]
    assert post(log, *mixed) == Receipt(2, 0, 0)
    assert [row["value"] for row in Outcomes(log.folder, log).history(ids[1])] == [1.0]
    assert post(log, {"prediction_id": ids[1], "value": 1}, {"request_id": "order-1", "value": 0}) == Receipt(0, 2, 0)
    with pytest.raises(OutcomeConflictError, match=f"{ids[1]} has the outcome 1; 0 contradicts it"):
        post(log, {"request_id": "order-2", "value": 0})


def test_a_request_that_is_unknown_or_had_several_rows_stores_nothing(log):
    first = {"request_id": "order-1", "value": 1}
    with pytest.raises(
        UnknownPredictionError, match=r"no prediction of a request 'order-9' is on record in .*\(1 of 2"
    ):
        post(log, first, {"request_id": "order-9", "value": 1})
    with pytest.raises(RequestError, match="outcome 1: more than one prediction has the request id 'batch'") as refusal:
        post(log, first, {"request_id": "batch", "value": 1})
    assert refusal.value.status == 409
    with pytest.raises(UnknownPredictionError, match="'seventeen'"):
        post(log, first, {"prediction_id": "seventeen", "value": 1})
    assert len(Outcomes(log.folder, log).table(T0)) == 0
