"""The runtimes of one home, and how everything that runs in them is stopped.

Imports little: stopping a stack is waiting for this.
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from functools import cached_property

from tasks.rollout.containers import ContainerRuntime, connect
from trimtab.errors import RolloutError, ServiceUnavailableError
from trimtab.release.processes import ProcessRuntime
from trimtab.release.runtimes import Runtime
from trimtab.settings import Settings


class Scorers:
    """One home's runtimes.

    Parameters
    ----------
    settings : Settings
    resources : ExitStack
        Closed by the caller; what was opened here is closed with it.
    """

    def __init__(self, settings: Settings, resources: ExitStack) -> None:
        self.settings = settings
        self._resources = resources

    def runtime(self, name: str) -> Runtime:
        """The runtime of that name.

        Raises
        ------
        RolloutError
            If it is ``docker`` and no engine answers.
        """
        if name == "process":
            return ProcessRuntime(self.settings.releases_dir)
        try:
            return self._containers
        except ServiceUnavailableError as error:
            raise RolloutError(f"this release runs as a container: {error}") from error

    def runtimes(self) -> list[Runtime]:
        """All runtimes at hand; containers only where an engine answers, for else none of them runs."""
        found: list[Runtime] = [ProcessRuntime(self.settings.releases_dir)]
        try:
            found.append(self._containers)
        except ServiceUnavailableError:
            return found
        return found

    @cached_property
    def _containers(self) -> ContainerRuntime:
        return ContainerRuntime(self._resources.enter_context(closing(connect())), self.settings.home)


def stop_all() -> None:
    """Stop every scorer of this home, of both runtimes; called when a stack shuts down. Idempotent."""
    with ExitStack() as resources:
        for runtime in Scorers(Settings.from_env(), resources).runtimes():
            runtime.stop_all()
