"""Scorers that are gone are started again, as the gateway's routes want them."""

from __future__ import annotations

from collections.abc import Collection

from tasks.rollout.stack import open_stack
from trimtab.errors import RolloutError, TrimtabError
from trimtab.records import Release


def restore(models: Collection[str] | None = None) -> dict[str, str]:
    """See that the gateway's routes have their scorers running; returns the scorers' URLs by model.

    Idempotent. A scorer may come back under another address; its route is then updated. A route that is moved meanwhile
    is left as it is.

    Parameters
    ----------
    models
        Whose routes. By default all of them, as after a restart of the machine: nothing else runs then, and a route to
        a release that was never recorded (its run was killed before the proof) goes back to the latest that was. Of
        models that are named a roll-out may be under way: theirs only get the route's own release back.

    Raises
    ------
    RolloutError
        After all routes were tried, with each that could not be restored and why.
    ServiceUnavailableError
        If the gateway does not answer.
    """
    with open_stack() as stack:
        urls, failures = {}, []
        for model, route in stack.gateway.routes().items():
            if models is not None and model not in models:
                continue
            try:
                release = stack.ledger.find(Release, route.release_id)
                if release is None and models is None:
                    release = stack.ledger.latest(Release, model)
                if release is None:
                    raise RolloutError(
                        f"{route.release_id}, which the route leads to, is not on record; roll it out by a retrain"
                    )
                urls[model] = stack.restore(release, route)
            except (TrimtabError, OSError) as error:
                # Whatever is wrong with one model (its folder, its artifact, its engine), the others are to serve.
                failures.append(f"{model}: {error}")
        if failures:
            raise RolloutError("these routes have no scorer:\n" + "\n".join(failures))
        return urls
