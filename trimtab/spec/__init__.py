"""ModelSpec: all that trimtab must know of a model, in one frozen value. `trimtab.models` reads it from a folder.

The whole: model.py · target, features, trainers, training rows, gates: training.py · when to act on decay and whom to
tell: policy.py, with a rule for each family of signals: rules.py · how releases run, and when flows do: serving.py.
"""

from trimtab.spec.model import METRICS, RESERVED_COLUMNS, ModelSpec
from trimtab.spec.parts import Span, in_words
from trimtab.spec.policy import Alert, DecayPolicy
from trimtab.spec.rules import (
    FAULT_KINDS,
    AnomalyRule,
    CalibrationRule,
    DriftRule,
    EstimateRule,
    ExpectedLoss,
    FairnessRule,
    FaultRule,
    SliceRule,
)
from trimtab.spec.serving import Limits, Schedule, Serving
from trimtab.spec.training import MAXIMUM_CANDIDATES, Feature, Gates, Target, Trainer, Training, TrainingWindow

__all__ = [
    "FAULT_KINDS",
    "MAXIMUM_CANDIDATES",
    "METRICS",
    "RESERVED_COLUMNS",
    "Alert",
    "AnomalyRule",
    "CalibrationRule",
    "DecayPolicy",
    "DriftRule",
    "EstimateRule",
    "ExpectedLoss",
    "FairnessRule",
    "FaultRule",
    "Feature",
    "Gates",
    "Limits",
    "ModelSpec",
    "Schedule",
    "Serving",
    "SliceRule",
    "Span",
    "Target",
    "Trainer",
    "Training",
    "TrainingWindow",
    "in_words",
]
