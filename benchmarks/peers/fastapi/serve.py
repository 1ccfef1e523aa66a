"""FastAPI as those write it who want speed: `async def`, typed msgspec in and out, scored on the loop.

Scoring on the event loop beats a thread here: a row costs less than handing it over. Rows come as JSON
(``{"instances": [[...]]}``) or as raw little-endian float64 (``application/octet-stream``).
"""

from __future__ import annotations

import argparse
import os

import joblib
import msgspec
import numpy as np
import uvicorn
from fastapi import FastAPI, Request, Response


class Rows(msgspec.Struct):
    """The body."""

    instances: list[list[float]]


app = FastAPI()
model = joblib.load(os.environ["BENCH_MODEL"]) if __name__ == "serve" else None
decode = msgspec.json.Decoder(Rows).decode
encode = msgspec.json.Encoder().encode


@app.post("/predict")
async def predict(request: Request) -> Response:
    """Scores of rows."""
    body = await request.body()
    if request.headers["content-type"] == "application/octet-stream":
        scores = model.predict_proba(np.frombuffer(body, dtype="<f8").reshape(-1, model.n_features_in_))[:, 1]
        return Response(scores.astype("<f8").tobytes(), media_type="application/octet-stream")
    scores = model.predict_proba(np.array(decode(body).instances))[:, 1]
    return Response(encode({"predictions": scores.tolist()}), media_type="application/json")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    asked = parser.parse_args()
    os.environ["BENCH_MODEL"] = asked.model
    uvicorn.run(
        "serve:app",
        host="127.0.0.1",
        port=asked.port,
        workers=asked.workers,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
