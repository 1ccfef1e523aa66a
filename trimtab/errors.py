"""Every error that trimtab raises on purpose.

::

    TrimtabError
    ├── SpecError                  a model folder, suite or setting says something impossible
    │   └── UnknownModelError      no model of that name
    ├── SourceError                a data source returned something other than its spec promises
    │   └── TooFewRowsError        it has fewer rows for a span than training or judging needs
    ├── ValidationFailedError      a Great Expectations suite failed: nothing is trained on such data
    ├── TrainingError              a trainer failed or returned something unusable
    │   └── ParityError            a compiled artifact does not predict what its original predicts
    ├── EvaluationError            a metric cannot be computed on the rows at hand
    ├── RegistryError              MLflow holds something other than was recorded
    ├── ImageError                 a model image cannot be built
    ├── RolloutError               a release did not come to serve; the old one still does
    ├── LedgerError                the ledger refused a record
    │   ├── LedgerTamperedError    the chain of hashes is broken
    │   └── LedgerUnavailableError its database does not answer
    ├── PredictionLogError         the log cannot be written or read
    │   ├── LogBusyError           another holds it: it can be written later
    │   ├── UnknownPredictionError no prediction of that id
    │   │   └── PrunedPredictionError  it was deleted under its model's retention
    │   ├── OutcomeConflictError   a second, different outcome that is not marked as a correction
    │   └── OutcomeFileError       a file of outcomes that cannot be read at all
    ├── RequestError               a request that the gateway refuses, with its HTTP status
    └── ServiceUnavailableError    MLflow, Prefect, Docker or the gateway does not answer

A message says what broke, with the value, and what would be right.
"""

from __future__ import annotations

from typing import Any


class TrimtabError(Exception):
    """Base of all errors that trimtab raises on purpose."""


class SpecError(TrimtabError):
    """A model folder, an expectation suite or a setting says something impossible."""


class UnknownModelError(SpecError):
    """No model of that name."""


class SourceError(TrimtabError):
    """A data source returned something other than its spec promises."""


class TooFewRowsError(SourceError):
    """A span has fewer rows than training or judging needs."""


class ValidationFailedError(TrimtabError):
    """An expectation suite failed on the data: nothing may be trained on it.

    Parameters
    ----------
    message : str
        Which expectations failed, with their numbers.
    validation : trimtab.records.Validation
        The whole finding.
    """

    def __init__(self, message: str, validation: Any = None) -> None:
        super().__init__(message)
        self.validation = validation


class TrainingError(TrimtabError):
    """A trainer failed, or returned something that cannot be evaluated and served."""


class ParityError(TrainingError):
    """A compiled artifact does not predict what its original predicts."""


class EvaluationError(TrimtabError):
    """A metric cannot be computed on the rows at hand."""


class RegistryError(TrimtabError):
    """The model registry holds something other than was recorded."""


class ImageError(TrimtabError):
    """A model image cannot be built."""


class RolloutError(TrimtabError):
    """A release did not come to serve; the one before it still does."""


class LedgerError(TrimtabError):
    """The ledger refused a record."""


class LedgerTamperedError(LedgerError):
    """The chain of hashes is broken: something on record was altered."""


class LedgerUnavailableError(LedgerError):
    """The ledger's database does not answer."""


class PredictionLogError(TrimtabError):
    """The prediction log cannot be written or read."""


class LogBusyError(PredictionLogError):
    """Another thread or process writes to the log; nothing of this write was kept."""


class UnknownPredictionError(PredictionLogError):
    """No prediction of that id is on record."""


class PrunedPredictionError(UnknownPredictionError):
    """The prediction was deleted under its model's retention."""


class OutcomeConflictError(PredictionLogError):
    """A second, different outcome for a prediction, not marked as a correction."""


class OutcomeFileError(PredictionLogError):
    """A file of outcomes cannot be read at all: its format, or a column that it lacks."""


class RequestError(TrimtabError):
    """A request that the gateway refuses.

    Parameters
    ----------
    status : int
        The HTTP status to answer with (4xx or 503).
    message : str
        What is wrong, with the value, and what would be right.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ServiceUnavailableError(TrimtabError):
    """MLflow, Prefect, Docker or the gateway does not answer."""
