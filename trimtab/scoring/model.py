"""The artifact: a folder that holds one trained model, and how it is read and scored.

This is the code that scores at evaluation, in the registry's pyfunc and inside a model image, where it runs alone: it
imports numpy and msgspec, and onnxruntime, or scikit-learn with skops, only for the artifacts that need them.

::

    manifest.json        what the model is, and its features in the order that the matrix has
    model.onnx           the compiled trees, or
    model.skops          the estimator in a format that is safe to load (model.treelite: trees, as first compiled)
    golden.json          rows and the scores that training computed for them
    requirements.txt     the environment's lock, with hashes

The folder is known by its digest (`artifact_digest`), which covers every file in it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import msgspec
import numpy as np

T = TypeVar("T")

FORMAT_VERSION = 1
_LOG_ERRORS = 3
MANIFEST, GOLDEN, REQUIREMENTS = "manifest.json", "golden.json", "requirements.txt"
TRUSTED_TYPES: tuple[str, ...] = (
    "functools.partial",
    "numpy.dtype",
    "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.utils.validation.check_array",
)
"""Types that a skops file may hold beyond skops's own safe ones. Fixed here: a file never says what it may load."""


class ArtifactError(Exception):
    """An artifact is not what it says it is, or cannot score the rows at hand.

    Not in ``trimtab.errors``: this module runs alone inside images.
    """


class FeatureColumn(msgspec.Struct, frozen=True):
    """One column of the matrix. ``categories`` are those seen at training; the code is the position."""

    name: str
    type: Literal["number", "integer", "category", "boolean"]
    nullable: bool
    categories: tuple[str, ...] = ()


class Manifest(msgspec.Struct, frozen=True):
    """What the model is. Stored as ``manifest.json``; fields are only ever added, with a default."""

    model: str
    kind: Literal["binary", "multiclass", "regression"]
    format: Literal["onnx", "treelite", "skops"]
    features: tuple[FeatureColumn, ...]
    environment_digest: str
    format_version: int = FORMAT_VERSION
    classes: tuple[str, ...] = ()

    @property
    def model_file(self) -> str:
        """Name of the file that holds the model itself."""
        return f"model.{self.format}"

    def shape(self, rows: int) -> tuple[int, ...]:
        """The shape of the scores of so many rows: (rows,), or of several classes (rows, classes)."""
        return (rows, len(self.classes)) if self.classes else (rows,)


class Golden(msgspec.Struct, frozen=True):
    """Rows by feature, and the scores that training computed for them. Stored as ``golden.json``."""

    inputs: dict[str, list[int | float | str | bool | None]]
    scores: list[float | list[float]]


class Scorer(Protocol):
    """A loaded model: a matrix of shape (rows, features) in, scores of shape (rows,) out, of several classes (rows,
    classes)."""

    def __call__(self, matrix: np.ndarray) -> np.ndarray: ...


class Encoder:
    """Columns by feature name as the matrix that a model sees."""

    def __init__(self, features: Sequence[FeatureColumn]) -> None:
        self.names = [feature.name for feature in features]
        self._codes = {
            feature.name: {category: float(code) for code, category in enumerate(feature.categories)}
            for feature in features
            if feature.type == "category"
        }

    def __call__(self, columns: Mapping[str, Sequence[Any]]) -> np.ndarray:
        """Encode columns; see :meth:`Artifact.encode`."""
        if missing := [name for name in self.names if name not in columns]:
            raise ArtifactError(f"columns {missing} are missing; the model needs {self.names}")
        lengths = {name: len(columns[name]) for name in self.names}
        rows = lengths[self.names[0]]
        if any(length != rows for length in lengths.values()):
            raise ArtifactError(f"columns differ in length: {lengths}; all must have the same number of rows")
        matrix = np.empty((rows, len(self.names)), dtype=np.float64)
        for position, name in enumerate(self.names):
            matrix[:, position] = self._column(name, columns[name])
        return matrix

    def _column(self, name: str, values: Sequence[Any]) -> Any:
        codes = self._codes.get(name)
        try:
            if codes is not None:
                return [codes.get(value, np.nan) for value in values]
            return np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError) as error:
            expected = "number" if codes is None else "category"
            raise ArtifactError(f"column {name!r} holds what is no {expected}: {error}") from error


class Artifact:
    """A loaded artifact. Made by :func:`Artifact.load`; safe to call from one thread at a time."""

    def __init__(self, manifest: Manifest, digest: str, folder: Path, scorer: Scorer) -> None:
        self.manifest = manifest
        self.digest = digest
        self.folder = folder
        self._scorer = scorer
        self._encoder = Encoder(manifest.features)

    @classmethod
    def load(cls, folder: Path, expected_digest: str | None = None) -> Artifact:
        """Read an artifact.

        Parameters
        ----------
        folder
            The artifact's folder.
        expected_digest
            What is on record for it; another digest is refused before anything of it is loaded.

        Raises
        ------
        ArtifactError
            If files are missing, malformed, not those that the digest covers, or hold a type that is not trusted.
        """
        if not (folder / MANIFEST).is_file():
            raise ArtifactError(f"{folder} holds no {MANIFEST}; an artifact's folder does")
        digest = artifact_digest(folder)
        if expected_digest is not None and digest != expected_digest:
            raise ArtifactError(f"the artifact in {folder} has digest {digest}; on record is {expected_digest}")
        manifest = _decode(folder / MANIFEST, Manifest)
        if manifest.format_version != FORMAT_VERSION:
            raise ArtifactError(
                f"{folder / MANIFEST} has format_version {manifest.format_version}; this trimtab reads {FORMAT_VERSION}"
            )
        return cls(manifest, digest, folder, load_scorer(folder / manifest.model_file, manifest))

    def encode(self, columns: Mapping[str, Sequence[Any]]) -> np.ndarray:
        """Columns by feature name as the matrix that the model sees.

        Categories become their codes; null and categories not seen at training become NaN; booleans become 0 and 1.

        Returns
        -------
        np.ndarray
            float64, of shape (rows, features).

        Raises
        ------
        ArtifactError
            If a column is missing, holds what is no number where one is expected, or differs in length.
        """
        return self._encoder(columns)

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Score an encoded matrix.

        Parameters
        ----------
        matrix
            float64, of shape (rows, features), as :func:`Artifact.encode` makes it.

        Returns
        -------
        np.ndarray
            float64, of shape (rows,): the probability of 1 for a binary model, the value for a regression; or of shape
            (rows, classes): the probability of each class, in the manifest's order.
        """
        if len(matrix) == 0:
            return np.empty(self.manifest.shape(0), dtype=np.float64)
        return self._scorer(matrix)

    def scored_by(self, scorer: Scorer) -> Artifact:
        """The same artifact, scored by another form of its model; whoever asks for that has proved it."""
        return Artifact(self.manifest, self.digest, self.folder, scorer)

    def golden(self) -> Golden:
        """The golden rows and the scores that training computed for them."""
        return _decode(self.folder / GOLDEN, Golden)


def artifact_digest(folder: Path) -> str:
    """SHA-256, in hex, over the sorted relative paths and file digests of a folder."""
    covered = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        file_digest = hashlib.sha256(path.read_bytes()).hexdigest()
        covered.update(f"{path.relative_to(folder).as_posix()}\0{file_digest}\n".encode())
    return covered.hexdigest()


def load_scorer(path: Path, manifest: Manifest) -> Scorer:
    """The model in that file as a function of the matrix.

    Raises
    ------
    ArtifactError
        If the file is missing, is no model of its format, or holds a type that is not trusted.
    """
    if not path.is_file():
        raise ArtifactError(f"{path} is missing; the manifest says that the model is there")
    if manifest.format == "onnx":
        return _load_onnx(path)
    return _load_treelite(path) if manifest.format == "treelite" else _load_skops(path, manifest)


def _load_onnx(path: Path) -> Scorer:
    # Since 1.29 it reports what it loads to its maker, from the import on, unless it is told not to before.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as states

    onnxruntime.disable_telemetry_events()
    onnxruntime.set_default_logger_severity(_LOG_ERRORS)
    options = onnxruntime.SessionOptions()
    # A second thread costs latency under load; no arena and no plans, for batches differ in size.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    try:
        # From bytes: a model that names other files finds none.
        session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except (
        *(states.Fail, states.InvalidArgument, states.InvalidProtobuf, states.InvalidGraph, states.NotImplemented),
        *(states.NoModel, states.NoSuchFile, states.RuntimeException, states.EPFail, states.EngineError),
    ) as error:
        raise ArtifactError(f"{path} is not loaded: {error}") from error
    (rows,), (scores,) = ([item.name for item in items] for items in (session.get_inputs(), session.get_outputs()))

    def score(matrix: np.ndarray) -> np.ndarray:
        return np.asarray(session.run([scores], {rows: matrix})[0])

    return score


def _load_treelite(path: Path) -> Scorer:
    """Not made any more; those that are on record are read for ever."""
    import treelite

    trees = treelite.Model.deserialize(str(path))

    def score(matrix: np.ndarray) -> np.ndarray:
        # (rows, 1, outputs): one output, or the probabilities of 0 and of 1.
        return np.asarray(treelite.gtil.predict(trees, matrix, nthread=1).reshape(len(matrix), -1)[:, -1])

    return score


def _load_skops(path: Path, manifest: Manifest) -> Scorer:
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    try:
        estimator = skops.io.load(path, trusted=list(TRUSTED_TYPES))
    except UntrustedTypesFoundException as error:
        raise ArtifactError(f"{path} is not loaded: {error}") from error
    return estimator_scorer(estimator, manifest.kind)


def estimator_scorer(estimator: Any, kind: str) -> Scorer:
    """A scikit-learn estimator as a function of the matrix."""

    def score(matrix: np.ndarray) -> np.ndarray:
        output = estimator.predict(matrix) if kind == "regression" else estimator.predict_proba(matrix)
        return np.asarray(output[:, 1] if kind == "binary" else output, dtype=np.float64)

    return score


def _decode(path: Path, to: type[T]) -> T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=to)
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} is missing; an artifact's folder holds it") from error
    except msgspec.DecodeError as error:
        raise ArtifactError(f"{path} is malformed: {error}") from error
