"""A small synthetic model whose concept turns over on 1 March 2024: what the flow tests run on."""

from datetime import timedelta

from trimtab.spec import (
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
    name="loan",
    description="Whether a loan is repaid (synthetic)",
    owner="tests",
    source="data:load",
    target=Target(name="repaid"),
    key="loan_id",
    features=(
        Feature(name="income", type="number", description="thousands a year"),
        Feature(name="age", type="integer", nullable=False),
        Feature(name="region", type="category"),
        Feature(name="employed", type="boolean"),
    ),
    protected=("region",),
    suite="loan",
    trainers=(Trainer(name="boosting", function="training:boosting", seed=7),),
    training=Training(window=timedelta(days=5), evaluation_window=timedelta(days=1), minimum_rows=200),
    gates=Gates(slices=("region",)),
    window=timedelta(days=2),
    label_maturity=timedelta(hours=6),
    policy=DecayPolicy(
        performance_drop=0.05,
        minimum_outcomes=100,
        cooldown=timedelta(days=1),
    ),
    schedule=Schedule(watch=None),
    serving=Serving(memory_mb=256),
)
