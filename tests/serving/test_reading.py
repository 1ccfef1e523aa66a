"""Predictions are read through the gateway by what is known of them, while it predicts."""

import httpx
import pytest

from tests.serving.stack import infer_body
from trimtab.errors import RequestError


def test_predictions_are_listed_by_caller_request_and_time_page_by_page(served):
    with httpx.Client(base_url=served.url) as http:
        ids = []
        for number in range(5):
            headers = {"x-trimtab-caller": "web" if number % 2 else "branch"}
            body = infer_body(request_id=f"order-{number // 2}", event_time=f"2024-01-0{number + 1}T00:00:00Z")
            answer = http.post("/v2/models/loan/infer", content=body, headers=headers).raise_for_status().json()
            ids += next(output["data"] for output in answer["outputs"] if output["name"] == "prediction_id")

        def listed(**asked):
            answer = http.get("/predictions", params=asked).raise_for_status().json()
            return [each["record"]["prediction_id"] for each in answer["predictions"]], answer["next"]

        assert listed() == (ids[::-1], None)
        assert listed(caller="web") == ([ids[3], ids[1]], None)
        assert listed(request_id="order-1", model="loan", order="oldest") == ([ids[2], ids[3]], None)
        assert listed(**{"from": "2024-01-02T00:00:00Z", "to": "2024-01-04T00:00:00+00:00"}) == ([ids[2], ids[1]], None)
        first, cursor = listed(limit=3)
        assert (first, cursor) == (ids[:1:-1], ids[2])
        assert listed(limit=3, after=cursor) == (ids[1::-1], None)
        refused = http.get("/predictions?limit=many")
        assert refused.status_code == 400
        assert refused.json() == {"error": "limit is 'many'; it must be a whole number from 1 to 1000"}
        assert http.get(f"/predictions/{ids[0]}").json()["record"]["request_id"] == "order-0"
        assert http.get("/predictions/17").status_code == 404
        with served.client() as client:
            page = client.predictions(**{"caller": "branch", "to": "2024-01-02T00:00:00+00:00"})
            assert [each["record"]["prediction_id"] for each in page["predictions"]] == ids[:1]
            with pytest.raises(RequestError, match="there is no parameter 'shoe'"):
                client.predictions(shoe="1")
