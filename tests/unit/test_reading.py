"""What the gateway is asked about predictions becomes a query, or is refused with what would be right."""

import asyncio
import json
import threading
from datetime import UTC, datetime

import pytest

from tests.prediction_rows import make_rows
from trimtab.errors import RequestError
from trimtab.predictions import Outcome, Outcomes, PredictionLog, Query, new_prediction_ids
from trimtab.predictions.schema import id_text
from trimtab.serving.reading import Reader, parse_query
from trimtab.settings import Settings

ID = "01a20724-2827-701d-b204-c0f625df39a4"


def test_every_parameter_has_its_place():
    raw = (
        "model=loan&from=2024-01-01T00:00:00Z&to=2024-02-01T01:00:00%2B01:00&version=3&release=release-1&caller=a%20b"
        f"&request_id=%C3%A9%26&order=oldest&limit=7&after={ID}"
    )
    assert parse_query(raw) == Query(
        model="loan",
        start=datetime(2024, 1, 1, tzinfo=UTC),
        end=datetime(2024, 2, 1, tzinfo=UTC),
        version="3",
        release_id="release-1",
        caller="a b",
        request_id="é&",
        newest_first=False,
        limit=7,
        after=ID,
    )
    assert parse_query("") == Query()


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ("modl=loan", "there is no parameter 'modl'; there are model, from, to"),
        ("model=loan&model=tax", "model is given twice"),
        ("caller=", "caller is empty; give it a value or leave it out"),
        ("from=yesterday", 'from is "yesterday"; it must be an ISO 8601 time with a timezone'),
        ("to=2024-01-01", "to is "),
        ("from=2024-01-02T00:00:00Z&to=2024-01-01T00:00:00Z", "is not before the end 2024-01-01"),
        ("from=2024-01-01T00:00:00Z&to=2024-01-01T00:00:00Z", "from and to are wrong"),
        ("limit=0", "limit is '0'; it must be a whole number from 1 to 1000"),
        ("limit=1001", "1 to 1000"),
        ("limit=-1", "1 to 1000"),
        ("limit=²", "1 to 1000"),
        ("limit=" + "9" * 5000, "1 to 1000"),
        ("order=up", "order is 'up'; it must be newest or oldest"),
        ("after=17", "after is '17'; it must be the prediction id"),
        ("caller=%ff", "they must be UTF-8"),
        ("&".join(f"caller={i}" for i in range(50)), "cannot be read"),
    ],
)
def test_a_wrong_parameter_is_refused_with_what_would_be_right(raw, said):
    with pytest.raises(RequestError) as refused:
        parse_query(raw)
    assert refused.value.status == 400
    assert said in str(refused.value)
    assert len(str(refused.value)) < 400


@pytest.fixture
def settings(tmp_path):
    return Settings.from_env({"TRIMTAB_HOME": str(tmp_path), "TRIMTAB_MAX_READS": "2"})


@pytest.fixture
def reader(settings):
    made = Reader(settings)
    yield made
    made.close()


async def test_a_page_is_json_and_says_where_to_go_on(settings, reader):
    log = PredictionLog(settings.predictions_dir / "loan")
    log.append(make_rows(3, request_id=["a", "b", "a"], score=[0.5, 0.25, 1.0]))
    log.seal()
    log.append(make_rows(1, request_id=["a"]))
    log.close()
    first = json.loads(await reader.predictions(parse_query("request_id=a&limit=2")))
    assert [set(each) for each in first["predictions"]] == [{"model", "record"}] * 2
    assert first["predictions"][1]["record"]["score"] == 1.0
    assert first["next"] == first["predictions"][1]["record"]["prediction_id"]
    second = json.loads(await reader.predictions(parse_query(f"request_id=a&limit=2&after={first['next']}")))
    assert [each["record"]["score"] for each in second["predictions"]] == [0.5]
    assert second["next"] is None
    for nothing in ("model=tax", "model=../predictions/loan", "caller=nobody"):
        assert json.loads(await reader.predictions(parse_query(nothing))) == {"predictions": [], "next": None}


async def test_who_may_see_some_models_sees_no_others_and_learns_of_none(settings, reader):
    ids = {}
    for model in ("loan", "tax"):
        log = PredictionLog(settings.predictions_dir / model)
        rows = make_rows(1)
        log.append(rows)
        log.close()
        ids[model] = id_text(rows["prediction_id"][0].as_py())
        Outcomes(log.folder).add([Outcome(ids[model], 1.0, datetime(2024, 2, 1, tzinfo=UTC))])
    listed = json.loads(await reader.predictions(Query(), frozenset({"tax"})))
    assert [each["model"] for each in listed["predictions"]] == ["tax"]
    assert json.loads(await reader.predictions(Query(model="loan"), frozenset({"tax"})))["predictions"] == []
    found = json.loads(await reader.prediction(ids["tax"], frozenset({"tax"})))
    assert (found["model"], found["outcome"], len(found["outcomes"])) == ("tax", 1.0, 1)
    unknown = id_text(new_prediction_ids(1)[0])
    for asked in (ids["loan"], unknown):
        with pytest.raises(RequestError) as refused:
            await reader.prediction(asked, frozenset({"tax"}))
        assert refused.value.status == 404
        assert str(refused.value) == f"no prediction '{asked}' of the models that this token is for is on record"
    with pytest.raises(RequestError, match="searched the logs of loan, tax"):
        await reader.prediction(unknown)


async def test_more_readers_than_allowed_are_told_to_come_again(settings, reader, monkeypatch):
    """Those who were there first are answered; then there is room again."""
    begun, go_on = threading.Semaphore(0), threading.Event()

    def slow(query, models):
        begun.release()
        assert go_on.wait(20)
        return b"{}"

    monkeypatch.setattr(reader, "_predictions", slow)
    waiting = [asyncio.create_task(reader.predictions(Query())) for _ in range(2)]
    await asyncio.to_thread(begun.acquire)
    with pytest.raises(RequestError, match="2 calls already read") as refused:
        await reader.prediction(ID)
    assert refused.value.status == 429
    go_on.set()
    assert await asyncio.gather(*waiting) == [b"{}"] * 2
    with pytest.raises(RequestError, match="on record"):
        await reader.prediction(ID)


async def test_a_log_that_cannot_be_read_is_503(settings, reader):
    log = PredictionLog(settings.predictions_dir / "loan")
    log.append(make_rows(3))
    (span,) = log.seal()
    log.close()
    span.path.unlink()
    with pytest.raises(RequestError, match=span.name) as refused:
        await reader.predictions(Query())
    assert refused.value.status == 503
