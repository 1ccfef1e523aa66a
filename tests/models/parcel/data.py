"""The synthetic parcels: 240 a day, the same rows for the same hours however they are asked for."""

from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np
import pandas as pd

PARCELS_AN_HOUR = 10
ARRIVALS = np.array(["early", "on time", "late"])
TURNING_POINT = datetime(2024, 3, 1, tzinfo=UTC)
OUTCOME_AFTER = timedelta(hours=2)


def load(start: datetime, end: datetime, as_of: datetime) -> pd.DataFrame:
    """Parcels with event_time in [start, end) that had arrived, two hours later, at as_of."""
    first = datetime(start.year, start.month, start.day, start.hour, tzinfo=UTC)
    hours = int((end - first) / timedelta(hours=1)) + 1
    parcels = pd.concat([_hour(first + timedelta(hours=hour)) for hour in range(hours)], ignore_index=True)
    known = parcels["event_time"] + OUTCOME_AFTER <= as_of
    return parcels[known & (parcels["event_time"] >= start) & (parcels["event_time"] < end)].reset_index(drop=True)


@cache
def _hour(hour: datetime) -> pd.DataFrame:
    random = np.random.default_rng(int(hour.timestamp()))
    distance = random.lognormal(4, 0.6, PARCELS_AN_HOUR)
    weight = random.integers(1, 30, PARCELS_AN_HOUR)
    carrier = random.choice(["post", "rail", "van"], PARCELS_AN_HOUR)
    express = random.random(PARCELS_AN_HOUR) < 0.3
    sign = 1.0 if hour < TURNING_POINT else -1.0
    slow = sign * (np.log(distance) - 4) * 4 + (carrier == "post") * 1.0 - express * 1.5
    logits = np.column_stack([-slow, np.zeros(PARCELS_AN_HOUR), slow + weight / 30])
    chosen = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)
    return pd.DataFrame(
        {
            "event_time": [hour + timedelta(minutes=6 * row) for row in range(PARCELS_AN_HOUR)],
            "distance": distance,
            "weight": weight,
            "carrier": carrier,
            "express": express,
            "arrival": ARRIVALS[chosen],
        }
    )
