"""Calls a gateway with the unmodified ``kserve`` client; run in an environment of its own. Prints what came, as JSON.

Arguments: the gateway's address, the model.
"""

import asyncio
import json
import sys

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

COLUMNS = {
    "income": ("FP64", np.array([1.5, -2.25])),
    "age": ("INT64", np.array([30, 41])),
    "region": ("BYTES", np.array(["north", "süd"], dtype=object)),
    "employed": ("BOOL", np.array([True, False])),
}


def inputs(binary: bool) -> list[InferInput]:
    made = []
    for name, (datatype, values) in COLUMNS.items():
        tensor = InferInput(name, list(values.shape), datatype)
        tensor.set_data_from_numpy(values, binary_data=binary)
        made.append(tensor)
    return made


async def main(address: str, model: str) -> dict:
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
    found = {
        "live": await client.is_server_live(address),
        "ready": await client.is_server_ready(address),
        "model_ready": await client.is_model_ready(address, model),
    }
    for how, binary in (("json", False), ("binary", True)):
        request = InferRequest(model_name=model, infer_inputs=inputs(binary), request_id=f"kserve-{how}")
        response = await client.infer(address, request, model_name=model)
        outputs = {output.name: output.as_numpy().tolist() for output in response.outputs}
        found[how] = {"id": response.id, "outputs": outputs}
    request = InferRequest(
        model_name=model, infer_inputs=inputs(False), parameters={"binary_data_output": True}, request_id="kserve-out"
    )
    response = await client.infer(address, request, model_name=model)
    found["binary_outputs"] = {output.name: output.as_numpy().tolist() for output in response.outputs}
    try:
        await client.infer(address, {"inputs": []}, model_name=model)
    except httpx.HTTPStatusError as error:
        found["refused"] = str(error)
    await client.close()
    return found


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(*sys.argv[1:]))))
