"""A test message goes through the alerts on a model's state, or says why there are none."""

from pathlib import Path

import pytest

from deployments.deliveries import send_test
from trimtab.errors import SpecError
from trimtab.models import load_model
from trimtab.settings import Settings
from trimtab.spec.policy import Alert

MODELS = Path(__file__).parents[1] / "models"


@pytest.mark.parametrize(
    ("alerts", "said"),
    [
        ((), "loan has no alert on its state: its spec has none (docs/alerts.md)"),
        (
            (Alert(block="slack-webhook/risk", on=("FAILED",)),),
            "loan has no alert on its state: those of its spec tell [['FAILED']] (docs/alerts.md)",
        ),
    ],
)
def test_without_an_alert_on_the_state_it_is_said_which_there_are(alerts: tuple[Alert, ...], said: str) -> None:
    spec = load_model(MODELS, "loan").spec.model_copy(update={"alerts": alerts})
    with pytest.raises(SpecError) as refused:
        send_test(Settings.from_env({}), spec)
    assert str(refused.value) == said
