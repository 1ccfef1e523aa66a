"""What every command shares: arguments, settings, and how it speaks."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from trimtab.settings import Settings

Model = Annotated[str, typer.Argument(help="Name of the model, such as flight-delay.")]
PredictionId = Annotated[str, typer.Argument(help="The id that the prediction was answered with (a UUID).")]
AsOf = Annotated[
    str | None,
    typer.Option(
        help="The moment to act as of, such as 2013-07-01 or 2013-07-01T06:00:00+00:00 (UTC); now if left out."
    ),
]


def say(line: str) -> None:
    typer.echo(line)
    sys.stdout.flush()


def console() -> Console:
    from rich.console import Console

    return Console(highlight=False)


def error_console() -> Console:
    from rich.console import Console

    return Console(stderr=True)


def read_settings() -> Settings:
    from trimtab.settings import Settings, quiet_telemetry

    quiet_telemetry()
    return Settings.from_env()


def parse_moment(text: str | None, option: str = "--as-of") -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(
            f"{option} is {text!r}; it must be a date or time such as 2013-07-01 or 2013-07-01T06:00:00+00:00"
        ) from error


def log_folder(settings: Settings, model: str) -> Path:
    """Where the model's predictions are; a name that has none is more likely a slip than a question."""
    from trimtab.errors import TrimtabError

    there = sorted(folder.name for folder in settings.predictions_dir.glob("*") if folder.is_dir())
    if model not in there:
        raise TrimtabError(
            f"no predictions of a model {model!r} are on record in {settings.predictions_dir}; "
            f"there are those of {', '.join(there) or 'none'}"
        )
    return settings.predictions_dir / model
