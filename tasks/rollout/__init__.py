"""Rolling a release out: start it, prove it, switch the route to it, prove that it serves, drain the old one.

Every step may be repeated. Until `switch_route` the old release serves; if a step fails, the new scorer is stopped, the
old release goes on serving, and the error propagates. In a flow::

    image = record(build_image(model, version, candidate))
    release = plan_release(version, image, cause)     # its id is known before it runs
    url = start_release(release, image)
    check_golden(release, url)
    switch_route(release, url)
    verify_serving(release)
    record(release)
    promote(version)                                  # the alias moves last
    drain_previous(release)

steps.py (these steps) · golden.py (the artifact's own rows) · restoring.py (scorers that are gone) · scorers.py (this
home's runtimes, and how all is stopped) · stack.py (its gateway, routes and records too) · containers.py (Docker) ·
processes are in trimtab/release/. Only steps.py imports Prefect: a stack that starts or stops does not wait for it.
"""
