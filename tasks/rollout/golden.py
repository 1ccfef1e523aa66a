"""Proof that a scorer says what training said: the golden rows, over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np

from trimtab.errors import RolloutError
from trimtab.records import Release
from trimtab.scoring.model import GOLDEN, MANIFEST, FeatureColumn, Golden, Manifest

TOLERANCES = {"onnx": 1e-9, "treelite": 1e-9, "skops": 1e-6}
"""Largest absolute difference of a score from training's, by artifact format."""

_DATATYPES = {"number": "FP64", "integer": "INT64", "category": "BYTES", "boolean": "BOOL"}
_TIMEOUT_S = 30


def golden_difference(artifact: Path, release: Release, url: str) -> int:
    """Score the golden rows at that address; returns how many there are.

    Raises
    ------
    RolloutError
        If the scorer refuses them, or a score differs from training's by more than the format's tolerance.
    """
    manifest = msgspec.json.decode((artifact / MANIFEST).read_bytes(), type=Manifest)
    golden = msgspec.json.decode((artifact / GOLDEN).read_bytes(), type=Golden)
    body = {"inputs": [_tensor(feature, golden.inputs[feature.name]) for feature in manifest.features]}
    path = f"{url}/v2/models/{release.model}/infer"
    try:
        with httpx.Client(trust_env=False, timeout=_TIMEOUT_S) as client:
            answer = client.post(path, content=msgspec.json.encode(body))
    except httpx.TransportError as error:
        raise RolloutError(f"{release.id} does not answer the golden rows at {path}: {error!r}") from error
    if answer.status_code != httpx.codes.OK:
        raise RolloutError(f"{release.id} answers the golden rows with {answer.status_code}: {answer.text[:500]}")
    scores = answer.json()["outputs"][0]["data"]
    tolerance = TOLERANCES[manifest.format]
    for row, (score, expected) in enumerate(zip(scores, golden.scores, strict=True)):
        # A NaN is not within any tolerance.
        if not np.all(np.abs(np.subtract(score, expected)) <= tolerance):
            raise RolloutError(
                f"{release.id} scores golden row {row} as {score!r}; training said {expected!r} "
                f"(allowed difference {tolerance:g}). What serves is not what was trained"
            )
    return len(golden.scores)


def _tensor(feature: FeatureColumn, values: list[Any]) -> dict[str, Any]:
    if feature.type == "integer":
        values = [None if value is None else int(value) for value in values]
    if feature.type == "boolean":
        values = [None if value is None else bool(value) for value in values]
    datatype = _DATATYPES[feature.type]
    return {"name": feature.name, "shape": [len(values)], "datatype": datatype, "data": values}
