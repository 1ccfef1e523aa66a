"""``trimtab predictions``: what the models predicted."""

from __future__ import annotations

import typer

from trimtab.cli.terminal import PredictionId, read_settings, say

app = typer.Typer(no_args_is_help=True, help="What the models predicted.")


@app.command("show")
def show(prediction_id: PredictionId) -> None:
    """Show one logged prediction and what is known of its outcome."""
    from trimtab.predictions import Outcomes, find_prediction

    settings = read_settings()
    model, record = find_prediction(settings.predictions_dir, prediction_id)
    width = max(len(name) for name in record)
    say(f"{'model':{width}}  {model}")
    for name, value in record.items():
        say(f"{name:{width}}  {'missing' if value is None else value}")
    for each in Outcomes(settings.predictions_dir / model).history(prediction_id):
        note = " (a correction)" if each["correction"] else ""
        say(f"{'outcome':{width}}  {each['value']:g}{note}, known at {each['observed_at']}")
