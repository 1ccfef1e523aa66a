"""A small synthetic model of three classes whose concept turns over on 1 March 2024."""

from datetime import timedelta

from trimtab.spec import (
    CalibrationRule,
    DecayPolicy,
    Feature,
    Gates,
    ModelSpec,
    Schedule,
    Serving,
    Target,
    Trainer,
    Training,
)

SPEC = ModelSpec(
    name="parcel",
    description="When a parcel arrives (synthetic)",
    owner="tests",
    source="data:load",
    target=Target(name="arrival", kind="multiclass", classes=("early", "on time", "late")),
    features=(
        Feature(name="distance", type="number", description="kilometres"),
        Feature(name="weight", type="integer", nullable=False),
        Feature(name="carrier", type="category"),
        Feature(name="express", type="boolean"),
    ),
    protected=("carrier",),
    suite="parcel",
    trainers=(Trainer(name="boosting", function="training:boosting", seed=7),),
    training=Training(window=timedelta(days=5), evaluation_window=timedelta(days=1), minimum_rows=200),
    gates=Gates(slices=("carrier",), minimum_slice_rows=50),
    window=timedelta(days=2),
    label_maturity=timedelta(hours=6),
    policy=DecayPolicy(
        performance_drop=0.05,
        minimum_outcomes=100,
        cooldown=timedelta(days=1),
        calibration=CalibrationRule(maximum_rise=0.2),
    ),
    schedule=Schedule(watch=None),
    serving=Serving(memory_mb=256),
)
