"""``python -m demo``: the command."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from demo.figures import MONTHLY, TRIMTAB, Comparison
from demo.home import clean_home
from demo.screen import Screen
from demo.stopwatch import Stopwatch
from trimtab.errors import TrimtabError
from trimtab.records import Release
from trimtab.settings import Settings, quiet_telemetry

ROOT = Path(__file__).parents[1]
ALL_WEEKS, QUICK_WEEKS = 44, 9
MODEL = "flight-delay"
INTERRUPTED = 130


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="make demo ARGS=..." if "MAKELEVEL" in os.environ else "python -m demo",
        description="A year of real flights through the whole loop: served, watched, and retrained when it decays.",
    )
    parser.add_argument("--exit", action="store_true", help="end by itself instead of staying up until Ctrl-C")
    parser.add_argument("--quick", action="store_true", help=f"replay {QUICK_WEEKS} weeks instead of {ALL_WEEKS}")
    parser.add_argument("--weeks", type=int, metavar="N", help="replay N weeks, from March on")
    parser.add_argument("--home", type=Path, default=Path(".trimtab-demo"), help="folder of the demo, emptied first")
    parser.add_argument(
        "--runtime",
        choices=("auto", "docker", "process"),
        default=os.environ.get("TRIMTAB_RUNTIME", "auto"),
        help="where releases run; auto: in containers where a Docker engine answers",
    )
    options = parser.parse_args(given)
    if options.weeks is None:
        options.weeks = QUICK_WEEKS if options.quick else ALL_WEEKS
    if not 1 <= options.weeks <= ALL_WEEKS:
        parser.error(f"--weeks is {options.weeks}; it must be from 1 to {ALL_WEEKS}")
    return options


def main() -> int:
    """Run the demo. The exit status is 1 after an error, which is told, and 130 after a Ctrl-C before the end."""
    quiet_telemetry()
    options, screen, stopwatch = arguments(), Screen(), Stopwatch()
    from trimtab.services import Supervisor, stop_on_signals

    finished = False
    with stop_on_signals():
        try:
            clean_home(options.home.absolute())
            settings = _settings(options)
            screen.title("Services")
            with stopwatch.stage("start of the services"):
                supervisor = Supervisor(settings, screen.say)
                settings = supervisor.start()
            try:
                _act(options, settings, screen, stopwatch)
                finished = True
                if not options.exit:
                    screen.say("\nAll stays up until Ctrl-C.", "bold")
                    supervisor.wait()
            finally:
                supervisor.stop()
        except KeyboardInterrupt:
            screen.say("stopped")
            return 0 if finished else INTERRUPTED
        except TrimtabError as error:
            screen.say(f"\nthe demo failed: {error}", "red")
            return 1
    return 0


def _settings(options: argparse.Namespace) -> Settings:
    env = {
        **os.environ,
        "TRIMTAB_HOME": str(options.home.absolute()),
        "TRIMTAB_RUNTIME": options.runtime,
        "TRIMTAB_MODELS_DIR": str(ROOT / "deployments" / "models"),
        "TRIMTAB_SUITES_DIR": str(ROOT / "expectations"),
        "TRIMTAB_LEDGER_URL": "",
    }
    return Settings.from_env(env)


def _act(options: argparse.Namespace, settings: Settings, screen: Screen, stopwatch: Stopwatch) -> None:
    from trimtab.services import environment

    # Prefect reads its settings when it is first imported, so nothing before this line imports it.
    os.environ.update(environment(settings))
    os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "ERROR"

    from demo import course, results
    from demo.page import write_page
    from demo.plot import draw, write
    from deployments.apply import apply
    from trimtab.models import load_model
    from trimtab.pages.front import write_front_page

    model = load_model(settings.models_dir, course.MODEL)
    screen.title("Deployments")
    with stopwatch.stage("deployments and automations"):
        screen.say(str(apply(settings)))
    screen.title("First release")
    with stopwatch.stage("first training and release"):
        first = course.first_release(settings, screen)
    screen.say(_released(settings, first))
    screen.title(f"{options.weeks} weeks of flights, from {course.START:%d %B %Y} on")
    year = course.replay(settings, model, options.weeks, screen, stopwatch)
    with stopwatch.stage("baselines and figures"), screen.status("scoring the baselines on the same flights"):
        comparison = results.compare_policies(settings, year, first)
        weeks = results.with_metrics(year.weeks, comparison)
        chain = results.choose_prediction(settings, year)
    headline = _headline(comparison)
    with stopwatch.stage("plot and page"):
        figure = draw(comparison, weeks, results.release_times(settings))
        picture = settings.reports_dir / "demo" / "year.png"
        write(figure, picture)
        page = write_page(settings, figure, comparison, weeks, chain, stopwatch.stages, headline)
        write_front_page(settings)
    screen.timeline(weeks)
    screen.figures(comparison)
    screen.say(headline, "bold")
    screen.title("What led to one prediction, in short")
    screen.chain(chain)
    screen.stages(stopwatch.stages, stopwatch.total_s)
    screen.say(f"{len(year.prediction_ids):,} requests, {year.requests_per_s:,.0f} a second while nothing retrained")
    _say_addresses(settings, screen, picture, page, chain.id)


def _released(settings: Settings, release: Release) -> str:
    where = {"docker": "a container", "process": "a local process"}[release.runtime]
    why = ""
    if release.runtime == "process":
        asked = settings.runtime == "process"
        why = ", as asked for" if asked else ": no Docker engine answers here, the artifact and its lock are the same"
    return f"version {release.version} serves, artifact {release.artifact_digest[:12]}, in {where}{why}"


def _headline(comparison: Comparison) -> str:
    own, monthly = comparison.named(TRIMTAB), comparison.named(MONTHLY)
    share = comparison.kept_share("log_loss")
    times = {0: "no retraining", 1: "one retraining"}.get(own.retrains, f"{own.retrains} retrainings")
    if not share > 0:
        return f"trimtab asked for {times}, where a monthly schedule takes {monthly.retrains}."
    return (
        f"With {times} trimtab kept {share:.0%} of what retraining every month ({monthly.retrains} times) gains "
        "in log-loss over never retraining."
    )


def _say_addresses(settings: Settings, screen: Screen, picture: Path, page: Path, prediction_id: str) -> None:
    screen.title("Where to look")
    for what, where in (
        ("this demo's page", f"{settings.reports_url}/demo/  ({page})"),
        ("its picture", str(picture)),
        ("Prefect", settings.prefect_url),
        ("MLflow", settings.mlflow_url),
        ("gateway", f"{settings.gateway_url}/v2/models/{MODEL}"),
        ("all reports", settings.reports_url),
    ):
        screen.say(f"  {what:17} {where}")
    screen.title("What to try next, in another terminal")
    trimtab = Path(sys.executable).with_name("trimtab")
    for line in (
        f"export TRIMTAB_HOME={settings.home}",
        f"{trimtab} lineage {prediction_id}",
        f"{trimtab} ledger verify",
        f"{trimtab} retrain {MODEL} --as-of 2014-01-02 --reason 'to see it run'",
        f"{trimtab} rollback {MODEL} --reason 'to see it run'",
    ):
        screen.say(f"  {line}")


if __name__ == "__main__":
    sys.exit(main())
