"""The form in which a person fills in a run's parameters in the Prefect UI."""

from __future__ import annotations

import importlib
from typing import Any

from griffe import Docstring, DocstringSectionKind
from prefect.utilities.callables import parameter_schema

from deployments.plan import PARAMETERS, PlannedDeployment


def form(planned: PlannedDeployment) -> dict[str, Any]:
    """JSON schema of a deployment's parameters: from the flow's signature, its numpydoc, and what is fixed."""
    module_name, function_name = planned.entrypoint.rsplit(".", 1)
    function = getattr(importlib.import_module(module_name), function_name).fn
    schema = parameter_schema(function).model_dump_for_openapi()
    for name, text in {**PARAMETERS, **_descriptions(function.__doc__ or "")}.items():
        if name in schema["properties"]:
            schema["properties"][name]["description"] = text
    for name in planned.fixed:
        schema["properties"][name]["enum"] = [planned.parameters[name]]
    return schema


def _descriptions(docstring: str) -> dict[str, str]:
    sections = Docstring(docstring).parse("numpy", warnings=False)
    return {
        parameter.name: " ".join(parameter.description.split())
        for section in sections
        if section.kind is DocstringSectionKind.parameters
        for parameter in section.value
    }
