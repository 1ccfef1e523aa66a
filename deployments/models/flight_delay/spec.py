"""flight-delay: whether a flight from New York lands 15 minutes late or more, from what is known before departure.

The numbers of policy, gates and windows were chosen by replaying 2013 offline (docs/demo.md): the newest week judges,
all that is known before it trains, because the weather of a season teaches more than the freshness of a week.
"""

from __future__ import annotations

from datetime import timedelta

from trimtab.spec import DecayPolicy, Feature, Gates, ModelSpec, Schedule, Serving, Target, Trainer, Training

SPEC = ModelSpec(
    name="flight-delay",
    description="Whether a flight from New York lands 15 minutes late or more",
    owner="operations",
    source="data:load",
    key="flight_id",
    target=Target(name="late"),
    features=(
        Feature(name="carrier", type="category", nullable=False, description="two-letter code of the airline"),
        Feature(name="origin", type="category", nullable=False, description="EWR, JFK or LGA"),
        Feature(name="dest", type="category", nullable=False, description="airport of destination"),
        Feature(name="distance", type="integer", nullable=False, description="miles between the airports"),
        Feature(name="hour", type="integer", nullable=False, description="scheduled hour of departure, New York time"),
        Feature(name="minute_of_day", type="integer", nullable=False, description="scheduled minute of departure"),
        Feature(name="weekday", type="integer", nullable=False, description="0 is Monday, New York time"),
        Feature(name="temp", type="number", description="°F at the origin in the scheduled hour"),
        Feature(name="humid", type="number", description="relative humidity, %"),
        Feature(name="wind_speed", type="number", description="miles an hour"),
        Feature(name="precip", type="number", description="inches in the hour"),
        Feature(name="pressure", type="number", description="millibars at sea level"),
        Feature(name="visib", type="number", description="visibility, miles"),
        Feature(name="plane_age", type="number", description="years since the plane was built"),
        Feature(name="seats", type="number", description="seats of the plane"),
    ),
    protected=("origin",),
    suite="flight_delay",
    trainers=(
        Trainer(
            name="boosting",
            function="training:boosting",
            parameters={
                "max_iter": 80,
                "max_leaf_nodes": 15,
                "min_samples_leaf": 200,
                "learning_rate": 0.08,
                "l2_regularization": 10.0,
            },
        ),
    ),
    training=Training(window=timedelta(days=365), evaluation_window=timedelta(days=7), minimum_rows=5_000),
    gates=Gates(metric="log_loss", floors={"roc_auc": 0.55}, slices=("origin",), maximum_slice_loss=0.05),
    window=timedelta(days=7),
    label_maturity=timedelta(days=1),
    policy=DecayPolicy(
        # Not log-loss: it moves with the share of late flights from week to week, whatever the model is worth.
        metric="roc_auc",
        performance_drop=0.005,
        minimum_outcomes=1_000,
        minimum_rows=1_000,
        rollback_drop=0.01,
        # The pressure is missing for days on end at this source: 1 % of some weeks, 30 % of others.
        maximum_null_rise=0.3,
        cooldown=timedelta(days=14),
    ),
    schedule=Schedule(watch="0 6 * * 5"),
    serving=Serving(memory_mb=384, decision_threshold=0.35),
)
