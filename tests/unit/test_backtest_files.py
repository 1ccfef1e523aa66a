"""Files as people have them: fillers, columns without values or names, categories of other programs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from trimtab.backtest.files import read_file, unread_numbers
from trimtab.backtest.prepare import of_file
from trimtab.backtest.results import Backtest
from trimtab.backtest.run import backtest
from trimtab.backtest.small_spec import SmallSpec, model_spec
from trimtab.errors import SourceError, TrimtabError

SMALL = SmallSpec(time="at", target="paid", window="7d", maturity="1d", parameters={"max_iter": 10})


def loans(**columns: Any) -> pd.DataFrame:
    """Eighty days of 50 loans."""
    random, count = np.random.default_rng(0), 80 * 50
    income = random.lognormal(3, 0.5, count).round(2)
    return pd.DataFrame(
        {
            "at": pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(count) * 28, unit="min"),
            "income": income,
            "paid": (random.random(count) < 1 / (1 + np.exp(3 - np.log(income)))).astype(int),
            **columns,
        }
    )


def replayed(path: Path, small: SmallSpec = SMALL) -> Backtest:
    prepared = of_file(path, small, None, None, "never")
    return backtest(prepared.rows, prepared.asked, prepared.functions)


@pytest.mark.parametrize("filler", ["-", "None", "k. A.", "?"])
def test_a_column_of_numbers_but_for_a_filler_holds_numbers(tmp_path: Path, filler: str) -> None:
    """Whatever stands for what is missing; how often is told."""
    frame = loans()
    frame["income"] = frame["income"].astype(str)
    frame.loc[::9, "income"] = filler
    frame.to_csv(tmp_path / "loans.csv", index=False)
    table = read_file(tmp_path / "loans.csv")
    assert pa.types.is_floating(table["income"].type)
    assert unread_numbers(tmp_path / "loans.csv", table, ["income"]) == {"income": 445}
    assert table["income"][1].as_py() == float(frame["income"][1])


@pytest.mark.parametrize("texts", [("1", "2", "3", "X"), ("12a", "12b", "7"), ("north", "south", "4")])
def test_codes_that_are_partly_numbers_stay_texts(tmp_path: Path, texts: tuple[str, ...]) -> None:
    """A few numbers among them, or texts that are mostly none."""
    loans(code=np.resize(np.array(texts), 4_000)).to_csv(tmp_path / "loans.csv", index=False)
    assert set(read_file(tmp_path / "loans.csv")["code"].to_pylist()) == set(texts)


def test_a_column_without_any_value_or_name_is_no_feature(tmp_path: Path) -> None:
    """In a Parquet file it has a type all the same; a CSV's row numbers have no heading."""
    loans(nothing=np.nan).to_parquet(tmp_path / "loans.parquet")
    spec, notes = model_spec(SMALL, "loans", read_file(tmp_path / "loans.parquet"))
    assert spec.feature_names == ["income"]
    assert "['nothing']" in notes[0]
    loans().set_index(np.resize(np.arange(7), 4_000)).to_csv(tmp_path / "loans.csv")
    spec, _ = model_spec(SMALL, "loans", read_file(tmp_path / "loans.csv"))
    assert spec.feature_names == ["income"]


def test_a_feature_that_came_later_is_replayed(tmp_path: Path) -> None:
    """No row that trains the first model has a value of it."""
    frame = loans(later=np.resize(np.array([1.5, 2.5]), 4_000))
    frame.loc[:2_500, "later"] = np.nan
    frame.to_csv(tmp_path / "loans.csv", index=False)
    assert replayed(tmp_path / "loans.csv").windows


def test_categories_of_pandas_are_texts(tmp_path: Path) -> None:
    """Parquet keeps them as a dictionary."""
    frame = loans(region=np.resize(np.array(["north", "south"]), 4_000)).astype({"region": "category"})
    frame.to_parquet(tmp_path / "loans.parquet")
    spec, _ = model_spec(SMALL, "loans", read_file(tmp_path / "loans.parquet"))
    assert [feature.type for feature in spec.features] == ["number", "category"]


def test_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    """None of them can be meant."""
    (tmp_path / "loans.csv").write_text("at,x,x,paid\n2024-01-01,1,2,0\n")
    with pytest.raises(SourceError, match=r"several columns of the name \['x'\]"):
        read_file(tmp_path / "loans.csv")


@pytest.mark.parametrize("mark", [";", "\t"])
def test_cells_that_are_not_divided_by_commas_are_refused(tmp_path: Path, mark: str) -> None:
    """With a decimal comma or without."""
    for number, value in enumerate(("1,5", "1.5")):
        file = tmp_path / f"{number}.csv"
        file.write_text(mark.join(("at", "x", "paid\n")) + mark.join(("2024-01-01", value, "0\n")))
        with pytest.raises(SourceError, match=r"are divided by '.+': write it with commas"):
            read_file(file)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        (
            "größe",
            "north",
            r"the heading of .*loans.csv, b'at,.*gr\\xf6\\xdfe.*', is not UTF-8: save the file as UTF-8",
        ),
        ("region", "Süd", r"column 'region' of .*loans.csv holds b'S\\xfcd' in row 1: save the file as UTF-8"),
    ],
)
def test_another_encoding_is_refused(tmp_path: Path, name: str, value: str, words: str) -> None:
    """As a spreadsheet of an older office saves it; Arrow would take the cells for bytes, and those are no feature."""
    loans(**{name: np.resize(np.array([value, "west"]), 4_000)}).to_csv(
        tmp_path / "loans.csv", index=False, encoding="latin-1"
    )
    with pytest.raises(SourceError, match=words):
        read_file(tmp_path / "loans.csv")


@pytest.mark.parametrize("column", ["income", "paid"])
@pytest.mark.parametrize("written", [lambda x: f"{x:,.2f}".translate(str.maketrans(",.", ".,")), "{:,.2f}".format])
def test_numbers_with_commas_are_refused(tmp_path: Path, column: str, written: Callable[[float], str]) -> None:
    """They are texts to Arrow: so many categories of a feature, or classes of a target."""
    frame = loans()
    frame[column] = [written(value) for value in frame["income"] * 1_000]
    frame.to_csv(tmp_path / "loans.csv", index=False)
    shown = re.escape(repr(frame[column][0]))
    words = f"column '{column}' holds {shown}, and numbers with commas in 4,000 of 4,000 rows; write them with a"
    with pytest.raises(SourceError, match=words):
        replayed(tmp_path / "loans.csv", SMALL.model_copy(update={"target": column}))


def test_a_few_texts_with_commas_are_codes(tmp_path: Path) -> None:
    """Such as the size of an engine."""
    loans(engine=np.resize(np.array(["1,5", "2,0", "3,0"]), 4_000)).to_csv(tmp_path / "loans.csv", index=False)
    assert replayed(tmp_path / "loans.csv").windows


@pytest.mark.parametrize(
    ("columns", "kind", "words"),
    [
        (
            {"user": [f"user {row % 700}" for row in range(4_000)]},
            "binary",
            r"of more than 255 categories: \['user'\]; leave them",
        ),
        (
            {"paid": [f"order {row}" for row in range(4_000)]},
            "multiclass",
            r"'order \d+', nor 3,\d+ more of the 4,000 classes; a model is trained",
        ),
        ({"paid": 7.5}, "regression", r"rows have target 7.5; a regression needs targets that differ"),
        (
            {"income": np.where(np.arange(4_000) == 3_000, np.inf, 1.5)},
            "binary",
            "'income' holds inf; it must hold finite",
        ),
    ],
)
def test_what_cannot_be_trained_on_is_named(tmp_path: Path, columns: dict[str, Any], kind: str, words: str) -> None:
    """The column, not its position, and what is wrong with it."""
    loans(**columns).to_parquet(tmp_path / "loans.parquet")
    with pytest.raises(TrimtabError, match=words):
        replayed(tmp_path / "loans.parquet", SMALL.model_copy(update={"kind": kind}))
