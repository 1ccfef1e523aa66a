"""The synthetic loans: 240 a day, the same rows for the same hours however they are asked for."""

from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np
import pandas as pd

LOANS_AN_HOUR = 10
REGIONS = ("north", "south", "east", "west")
TURNING_POINT = datetime(2024, 3, 1, tzinfo=UTC)
OUTCOME_AFTER = timedelta(hours=2)


def load(start: datetime, end: datetime, as_of: datetime) -> pd.DataFrame:
    """Loans with event_time in [start, end) whose outcome, two hours later, was known at as_of."""
    first = datetime(start.year, start.month, start.day, start.hour, tzinfo=UTC)
    hours = int((end - first) / timedelta(hours=1)) + 1
    loans = pd.concat([_hour(first + timedelta(hours=hour)) for hour in range(hours)], ignore_index=True)
    known = loans["event_time"] + OUTCOME_AFTER <= as_of
    return loans[known & (loans["event_time"] >= start) & (loans["event_time"] < end)].reset_index(drop=True)


@cache
def _hour(hour: datetime) -> pd.DataFrame:
    random = np.random.default_rng(int(hour.timestamp()))
    income = random.lognormal(3.5, 0.5, LOANS_AN_HOUR)
    age = random.integers(18, 80, LOANS_AN_HOUR)
    region = random.choice(REGIONS, LOANS_AN_HOUR)
    employed = random.random(LOANS_AN_HOUR) < 0.7
    sign = 1.0 if hour < TURNING_POINT else -1.0
    logit = sign * (np.log(income) - 3.5) * 4 + (region == "north") * 0.5 + employed * 0.8 - 0.4
    repaid = random.random(LOANS_AN_HOUR) < 1 / (1 + np.exp(-logit))
    missing = random.random(LOANS_AN_HOUR) < 0.02
    return pd.DataFrame(
        {
            "loan_id": [f"{hour:%Y%m%d%H}-{row}" for row in range(LOANS_AN_HOUR)],
            "event_time": [hour + timedelta(minutes=6 * row) for row in range(LOANS_AN_HOUR)],
            "income": np.where(missing, np.nan, income),
            "age": age,
            "region": region,
            "employed": employed,
            "repaid": repaid.astype(int),
        }
    )
