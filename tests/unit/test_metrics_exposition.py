"""The gateway's metrics: counted right, bounded in number, and in the forms that Prometheus's own parsers read."""

import math
import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.prediction_rows import make_rows
from trimtab.predictions import PredictionLog
from trimtab.serving.exposition import Exposition, Readings
from trimtab.serving.metrics import LATENCY_BOUNDS_S, UNKNOWN, Histogram, Metrics

LOAN = ("loan", "3")


@pytest.fixture
def metrics():
    """Counters of a gateway that serves version 3 of loan."""
    return Metrics({"loan": "3"}.get)


def samples(body, parse=parse_text):
    """Value by name and labels, and the families."""
    families = list(parse(body.decode()))
    return {(s.name, *sorted(s.labels.items())): s.value for family in families for s in family.samples}, families


def labelled(name, **labels):
    return (name, *sorted(labels.items()))


@given(st.lists(st.floats(0, 40)), st.lists(st.sampled_from(LATENCY_BOUNDS_S)))
def test_a_value_counts_in_the_bucket_whose_bound_it_does_not_exceed(values, on_bounds):
    histogram = Histogram(LATENCY_BOUNDS_S)
    histogram.add_all(values + on_bounds)
    reached = 0
    for bound, count in zip((*LATENCY_BOUNDS_S, math.inf), histogram.counts, strict=True):
        reached += count
        assert reached == sum(value <= bound for value in values + on_bounds)
    one_by_one = Histogram(LATENCY_BOUNDS_S)
    for value in values + on_bounds:
        one_by_one.add(value)
    assert one_by_one.counts == histogram.counts
    assert one_by_one.total == pytest.approx(histogram.total)


@pytest.mark.parametrize(
    ("accept", "parse"),
    [("", parse_text), ("application/openmetrics-text; version=1.0.0", parse_openmetrics)],
    ids=["text", "OpenMetrics"],
)
def test_what_was_counted_is_shown_in_both_forms(metrics, tmp_path, accept, parse):
    log = PredictionLog(tmp_path / "loan")
    log.append(make_rows(7))
    metrics.batch(LOAN, 3, 7, [0.002, 0.004, 0.3], 0.0004, 0.0009)
    metrics.refused("loan", 429)
    metrics.refused("x" * 5000, 404)
    readings = Readings(metrics.snapshot(), {LOAN: 5}, {"loan": 2}, {"missing": 4}, ready=False)
    body, content_type = Exposition(tmp_path).render(readings, accept)
    found, families = samples(body, parse)
    gateway = "trimtab_gateway_"
    lane = {"model": "loan", "version": "3"}
    assert found[labelled(f"{gateway}requests_total", **lane, status="200")] == 3
    assert found[labelled(f"{gateway}requests_total", **lane, status="429")] == 1
    assert found[labelled(f"{gateway}requests_total", model="_unknown", version="", status="404")] == 1
    assert found[labelled(f"{gateway}request_duration_seconds_bucket", **lane, le="0.0025")] == 1
    assert found[labelled(f"{gateway}request_duration_seconds_bucket", **lane, le="+Inf")] == 3
    assert found[labelled(f"{gateway}request_duration_seconds_sum", **lane)] == pytest.approx(0.306)
    assert found[labelled(f"{gateway}scoring_duration_seconds_bucket", **lane, le="0.0005")] == 1
    assert found[labelled(f"{gateway}log_commit_duration_seconds_sum", **lane)] == 0.0009
    assert found[labelled(f"{gateway}batch_rows_sum", **lane)] == 7
    assert found[labelled(f"{gateway}log_lag_seconds", **lane)] == 0.3
    assert found[labelled(f"{gateway}queue_rows", **lane)] == 5
    assert found[labelled(f"{gateway}unlogged_rows_total", model="loan")] == 2
    assert found[labelled(f"{gateway}denied_calls_total", reason="missing")] == 4
    assert found[labelled(f"{gateway}unsealed_rows", model="loan")] == 7
    assert 0 <= found[labelled(f"{gateway}unsealed_age_seconds", model="loan")] < 60
    assert found[(f"{gateway}ready",)] == 0
    assert found[("process_resident_memory_bytes",)] > 1e6
    assert found[("process_open_fds",)] > 0
    assert {"process_start_time_seconds", "trimtab_build"} <= {family.name.removesuffix("_info") for family in families}
    assert all(family.documentation for family in families)
    assert "openmetrics" in content_type if accept else content_type.startswith("text/plain")


def test_the_largest_lag_is_that_since_the_scrape_before(metrics):
    metrics.batch(LOAN, 1, 1, [0.5], 0.1, 0.1)
    metrics.batch(LOAN, 1, 1, [0.2], 0.1, 0.1)
    first = metrics.snapshot()[LOAN]
    assert (first.log_lag_s, first.max_log_lag_s) == (0.2, 0.5)
    metrics.batch(LOAN, 1, 1, [0.3], 0.1, 0.1)
    assert metrics.snapshot()[LOAN].max_log_lag_s == 0.3
    assert first.max_log_lag_s == 0.5, "a snapshot stays as it was"


def test_the_number_of_series_does_not_grow_with_names_or_versions():
    served = {}
    metrics = Metrics(served.get)
    for number in range(200):
        metrics.refused(f"guess-{number}", 404)
        served["loan"] = str(number)
        metrics.batch(("loan", str(number)), 1, 1, [0.1], 0.1, 0.1)
    lanes = metrics.snapshot()
    assert lanes[UNKNOWN].statuses == {404: 200}
    assert len(lanes) == 6
    assert ("loan", "199") in lanes
    assert ("loan", "190") not in lanes


def test_the_backlog_is_read_again_only_after_some_seconds(tmp_path):
    now = [time.time()]
    exposition = Exposition(tmp_path, lambda: now[0])
    log = PredictionLog(tmp_path / "loan")
    readings = Readings({}, {LOAN: 0})

    def unsealed_rows():
        return samples(exposition.render(readings)[0])[0][labelled("trimtab_gateway_unsealed_rows", model="loan")]

    assert unsealed_rows() == 0
    log.append(make_rows(3))
    assert unsealed_rows() == 0
    now[0] += 6
    assert unsealed_rows() == 3


def test_a_log_that_cannot_be_read_takes_its_own_metric_only(tmp_path, caplog):
    (tmp_path / "loan").mkdir()
    (tmp_path / "loan" / "spool.sqlite").write_bytes(os.urandom(8192))
    found, _ = samples(Exposition(tmp_path).render(Readings({}, {LOAN: 1}))[0])
    assert found[labelled("trimtab_gateway_queue_rows", model="loan", version="3")] == 1
    assert labelled("trimtab_gateway_unsealed_rows", model="loan") not in found
    assert caplog.records[0].model == "loan"
