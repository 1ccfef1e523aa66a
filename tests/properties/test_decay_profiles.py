"""Laws of profiles: they add up, and say of a union what its parts say together."""

import math
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.profiles import same
from trimtab.decay.profile import (
    Bins,
    Profile,
    choose_bins,
    counting_few,
    counting_many,
    merge,
    merge_stored,
    profile,
    reference_profile,
    sources,
    threads,
    to_bytes,
)
from trimtab.errors import TrimtabError
from trimtab.spec import Feature

numbers = st.one_of(st.none(), st.floats(width=32), st.sampled_from([0.0, -0.0, 1.0, math.inf, -math.inf, math.nan]))
texts = st.one_of(st.none(), st.sampled_from(["", "a", "b", "o'hare", '"', "=a", "ü"]), st.text(max_size=3))
rows = st.lists(
    st.tuples(numbers, st.one_of(st.none(), st.integers(-5, 5)), texts, st.one_of(st.none(), st.booleans()))
)
TYPES = {"x": "number", "count": "integer", "c": "category", "b": "boolean"}
BINS = (
    Bins(column="x", type="number", edges=(-1.0, 0.0, 0.1, 1e6)),
    Bins(column="count", type="integer", edges=(-1.5, 0.0, 2.0), discrete=True),
    Bins(column="c", type="category", categories=("", "a", "o'hare")),
    Bins(column="b", type="boolean", categories=("false", "true")),
)


def table(rows: list[tuple]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [[], [], [], []]
    types = (pa.float64(), pa.int64(), pa.string(), pa.bool_())
    return pa.table({name: pa.array(column, kind) for name, column, kind in zip(TYPES, columns, types, strict=True)})


@settings(max_examples=40, deadline=None)
@given(rows, rows)
def test_the_merged_profile_is_the_profile_of_the_union(one, other):
    """Counting two sets of rows apart and together says the same."""
    apart = profile(table(one), BINS).merge(profile(table(other), BINS))
    assert same(apart, profile(table(one + other), BINS))


@settings(max_examples=25, deadline=None)
@given(rows, rows, rows)
def test_merging_is_associative_and_commutative(a, b, c):
    """Hours may be added to a day in any order."""
    p, q, r = (profile(table(part), BINS) for part in (a, b, c))
    assert same(p.merge(q).merge(r), p.merge(q.merge(r)))
    assert same(p.merge(q), q.merge(p))
    assert same(merge([p, q, r]), merge([r, q, p]))


@settings(max_examples=40, deadline=None)
@given(rows)
def test_every_row_is_counted_once(rows):
    """Bins, nulls and infinities of each column add up to the rows, whatever the values are."""
    for column in profile(table(rows), BINS).columns:
        assert column.valid + column.nulls + column.infinities == column.rows == len(rows)
        assert len(column.counts) == column.bins.size


@settings(max_examples=40, deadline=None)
@given(rows)
def test_bins_are_chosen_for_any_rows_and_hold_all_of_them(rows):
    """On its own bins a reference has nothing below, above or beside; and it goes to JSON and back."""
    found = profile(table(rows), choose_bins(table(rows), TYPES))
    for column in found.columns:
        assert column.counts[-1] == 0
        assert not column.bins.numeric or column.counts[0] == 0
    assert Profile.model_validate_json(found.model_dump_json()) == found


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200))
def test_counts_are_numpys(values):
    """A bin holds what is above the edge before it and up to its own."""
    counted = profile(pa.table({"x": values}), BINS[:1]).column("x")
    expected = np.bincount(np.searchsorted(BINS[0].edges, values, side="left"), minlength=len(BINS[0].edges) + 1)
    assert list(counted.counts) == list(expected)
    assert counted.minimum == min(values)
    assert counted.maximum == max(values)


def test_a_parquet_file_is_counted_as_its_table_is(tmp_path: Path):
    """Where the rows lie changes nothing."""
    data = table([(float(x), x % 4, "a" if x % 3 else None, x % 2 == 0) for x in range(500)])
    pq.write_table(data, tmp_path / "o'hare.parquet")
    assert profile(tmp_path / "o'hare.parquet", BINS) == profile(data, BINS)


def test_many_distinct_numbers_get_quantiles_and_equal_widths():
    """A continuous column has some thousand edges, few rows between two, and one absurd value takes no room."""
    values = np.append(np.random.default_rng(0).normal(size=20_000), 1e9)
    found = profile(pa.table({"x": values}), choose_bins(pa.table({"x": values}), {"x": "number"})).column("x")
    assert 900 <= len(found.bins.edges) <= 1_030
    assert max(found.counts) < 20_000 / 400
    assert not found.bins.discrete


def test_categories_beyond_the_limit_are_counted_together():
    """A column of ever new categories has a profile of bounded size."""
    data = pa.table({"c": [f"id-{row}" for row in range(1_000)]})
    found = profile(data, choose_bins(data, {"c": "category"})).column("c")
    assert found.bins.size == 201
    assert found.counts[-1] == 800


def test_the_reference_holds_features_and_scores_of_different_rows():
    """Scores are of the evaluation slice, features of the training rows."""
    features = [Feature(name="x", type="number"), Feature(name="b", type="boolean")]
    rows, said = pa.table({"x": [1.0, 2.0], "b": [True, None], "y": [1, 0]}), pa.table({"score": [0.1, 0.2, 0.3]})
    reference = reference_profile(rows, features, said, [Feature(name="score", type="number")])
    assert [column.bins.column for column in reference.columns] == ["x", "b", "score"]
    assert [column.rows for column in reference.columns] == [2, 2, 3]
    assert reference.column("b").bins.categories == ("true",)


def test_profiles_are_equal_by_what_they_state():
    """Arrays that were made of one of them, to count or to compare, make no difference."""
    one, other = (profile(table([(1.0, 2, "a", True), (0.05, 1, "", False)]), BINS) for _ in range(2))
    for column in (*one.columns, *other.columns):
        assert len(column.count_array) == column.bins.size
        assert len(column.bins.edge_array) == len(column.bins.edges)
    assert one == other
    assert hash(one.columns[0].bins) == hash(other.columns[0].bins)
    assert one != profile(table([(1.0, 2, "a", True)]), BINS)


def test_profiles_on_other_bins_are_not_merged():
    """Counts that do not mean the same are refused."""
    other = (BINS[0].model_copy(update={"edges": (0.0,)}), *BINS[1:])
    with pytest.raises(TrimtabError, match="different bins"):
        profile(table([]), BINS).merge(profile(table([]), other))


SHAPES = ["normal", "skewed", "absurd", "offset", "tiny", "huge", "one", "none"]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(SHAPES), st.sampled_from([counting_few, counting_many]))
def test_numbers_are_counted_in_the_bins_that_a_search_finds(seed, shape, counting):
    """Also those on edges, beside them and far beyond, and where most edges crowd in a few cells."""
    random = np.random.default_rng(seed)
    values = random.lognormal(0, 3, 3_000) if shape == "skewed" else random.normal(size=3_000)
    shaped = {"absurd": np.append(values, 1e300), "offset": values + 1e12, "tiny": values * 1e-300}
    shaped |= {"huge": np.clip(values, -17, 17) * 1e307, "one": np.full(3_000, 7.0), "none": values}
    values = shaped.get(shape, values)
    edges = np.unique(random.choice(values, 500))[: 0 if shape == "none" else None]
    beside = np.concatenate([np.nextafter(edges, -np.inf), np.nextafter(edges, np.inf)])
    values = np.concatenate([values, edges, beside, [-1.7e308, 1.7e308, 0.0, -0.0]])
    origin = float(edges[len(edges) // 2]) if len(edges) else 0.0
    counts, sums = np.zeros(len(edges) + 1, dtype=np.int64), np.zeros(len(edges) + 1)
    counting.count(values, counting.grid(edges, origin), counts, sums)
    bins = np.searchsorted(edges, values, side="left")
    assert counts.tolist() == np.bincount(bins, minlength=len(counts)).tolist()
    with np.errstate(over="ignore", invalid="ignore"):
        assert np.array_equal(sums, np.bincount(bins, values - origin, len(counts)), equal_nan=True)


@pytest.mark.parametrize("counting", [counting_few, counting_many])
def test_a_number_too_large_makes_the_sum_of_its_bin_alone_infinite(counting):
    values = np.ones(5_000)
    values[:4] = [1.5e308, 1.5e308, -1.5e308, -1.5e308]
    counts, sums = np.zeros(3, dtype=np.int64), np.zeros(3)
    counting.count(values, counting.grid(np.array([0.0, 2.0]), 0.0), counts, sums)
    assert counts.tolist() == [2, len(values) - 4, 2]
    assert sums.tolist() == [-np.inf, len(values) - 4, np.inf]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.01, 0.9]), st.sampled_from([20_000, 40_000]))
def test_many_discrete_numbers_are_counted_as_numpy_counts_them(seed, unknown, rows):
    """Counts, sums, ties, ends and what the reference lacks, whether few or most of the rows are new to it."""
    random = np.random.default_rng(seed)
    values = random.integers(0, 200, rows).astype(float)
    reference = choose_bins(pa.table({"x": values}), {"x": "integer"})
    new = random.random(len(values)) < unknown
    values[new] = random.choice([-7.0, 0.5, 1e9], new.sum())
    found = profile(pa.table({"x": np.append(values, [np.nan, np.inf, -0.0])}), reference).column("x")
    values = np.append(values, 0.0)
    edges = np.array(reference[0].edges)
    bins = np.searchsorted(edges, values, side="left")
    assert list(found.counts) == np.bincount(bins, minlength=len(edges) + 1).tolist()
    tied = np.isin(values, edges[1:])
    assert list(found.ties) == np.bincount(bins[tied], minlength=len(edges) + 1).tolist()
    shifted = values - reference[0].origin
    assert np.allclose(found.sums, np.bincount(bins, shifted, len(edges) + 1), rtol=1e-12)
    assert found.squares == pytest.approx(float(np.sum(shifted**2)), rel=1e-12)
    assert (found.minimum, found.maximum) == (values.min(), values.max())
    assert (found.nulls, found.infinities, found.rows) == (1, 1, len(values) + 2)
    assert found.others == {repr(value): int((values == value).sum()) for value in {*values[~tied].tolist()}}


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([20_000, 40_000]))
def test_many_numbers_with_nulls_and_infinities_are_counted_as_numpy_counts_them(seed, rows):
    """Rows of several batches, of which some lie far beyond the reference's."""
    random = np.random.default_rng(seed)
    values = random.lognormal(0, 2, rows)
    reference = choose_bins(pa.table({"x": values}), {"x": "number"})
    values[random.random(len(values)) < 0.001] = 1e18
    values[random.random(len(values)) < 0.001] = -1e18
    holes = random.choice([np.nan, np.inf, -np.inf], 30)
    found = profile(pa.table({"x": np.append(values, holes)}), reference).column("x")
    bins = np.searchsorted(reference[0].edges, values, side="left")
    assert list(found.counts) == np.bincount(bins, minlength=len(found.counts)).tolist()
    shifted = values - reference[0].origin
    assert np.allclose(found.sums, np.bincount(bins, shifted, len(found.counts)), rtol=1e-12)
    assert (found.minimum, found.maximum) == (values.min(), values.max())
    assert found.nulls == np.isnan(holes).sum()
    assert found.infinities == np.isinf(holes).sum()


def test_files_relations_and_tables_are_counted_alike(tmp_path: Path):
    """Several Parquet files, a DuckDB relation and the table of all rows have one profile, and one choice of bins."""
    data = table([(float(x) / 7, x % 4, "ab"[x % 2] if x % 3 else None, x % 2 == 0) for x in range(3_000)])
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    pq.write_table(data.slice(0, 1_000), paths[0])
    pq.write_table(data.slice(1_000), paths[1])
    bins = choose_bins(data, TYPES)
    with duckdb.connect() as connection:
        connection.register("rows", data)
        assert same(profile(connection.table("rows"), bins), profile(data, bins))
    assert same(profile(paths, bins), profile(data, bins))
    assert [one.categories for one in choose_bins(paths, TYPES)] == [one.categories for one in bins]


def test_columns_that_are_shared_out_among_threads_are_counted_as_by_one(tmp_path: Path, monkeypatch):
    """In their order, from a file of many row groups that is read a few at a time; what a thread raises is raised."""
    data = table([(float(x) / 7, x % 4, "ab"[x % 2] if x % 3 else None, x % 2 == 0) for x in range(3_000)])
    pq.write_table(data, tmp_path / "a.parquet", row_group_size=100)
    bins = choose_bins(data, TYPES)
    expected = profile(data, bins)
    monkeypatch.setattr(threads, "THREADED_ROWS", 3_000)
    monkeypatch.setattr(sources, "RUN_ROWS", 250)
    monkeypatch.setattr("pyarrow.cpu_count", lambda: 3)
    assert choose_bins(data, TYPES) == bins
    assert profile(data, bins) == expected
    assert same(profile(tmp_path / "a.parquet", bins), expected)
    with pytest.raises(TrimtabError, match="no number"):
        profile(data.set_column(0, bins[0].column, pa.array(["one"] * 3_000)), bins)


@settings(max_examples=25, deadline=None)
@given(rows, rows)
def test_stored_profiles_are_merged_as_profiles_are(one, other):
    """Hours in their compact form give the day that the hours themselves give."""
    parts = [profile(table(part), BINS) for part in (one, other)]
    assert same(merge_stored([to_bytes(part) for part in parts], BINS), merge(parts))


def test_quantiles_and_moments_are_those_of_the_values():
    """A quantile lies within its interval, which is narrow; mean and deviation are exact to rounding."""
    values = np.random.default_rng(5).lognormal(size=50_000) + 1e7
    found = profile(pa.table({"x": values}), choose_bins(pa.table({"x": values}), {"x": "number"})).column("x")
    for level in (0.0, 0.01, 0.5, 0.9, 1.0):
        quantile = found.quantile(level)
        true = np.quantile(values, level, method="inverted_cdf")
        assert quantile.low <= true <= quantile.high
        assert quantile.low <= quantile.value <= quantile.high
        assert level in (0.0, 1.0) or quantile.high - quantile.low < 0.05 * values.std()
    assert found.mean == pytest.approx(values.mean(), rel=1e-12)
    assert found.deviation == pytest.approx(values.std(), rel=1e-9)


def test_a_column_that_is_not_there_or_not_of_its_type_is_named():
    """Nothing is counted of what cannot be."""
    with pytest.raises(TrimtabError, match=r"columns \['x'\]"):
        profile(pa.table({"y": [1.0]}), BINS[:1])
    with pytest.raises(TrimtabError, match="'x' of type string is no number"):
        profile(pa.table({"x": ["one"]}), BINS[:1])
