"""A model's folder, read: its spec and its own functions.

A model is a folder ``deployments/models/<folder>/`` whose ``spec.py`` holds ``SPEC = ModelSpec(...)``. Functions are
named as ``"module:function"``, looked up in the model's own folder. :func:`load_models` reads them all and refuses
what is wrong with the field, the value and what would be right, before anything runs.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

import trimtab.spec
from trimtab.errors import SpecError, UnknownModelError
from trimtab.records import content_id
from trimtab.spec import ModelSpec


class Model:
    """A spec and the folder that it came from, in which its functions are looked up.

    Parameters
    ----------
    spec : ModelSpec
    folder : Path
        The model's folder; a package of its own, so its modules may import each other relatively.
    """

    def __init__(self, spec: ModelSpec, folder: Path) -> None:
        self.spec = spec
        self.folder = folder

    def function(self, reference: str) -> Callable[..., Any]:
        """The function that ``"module:function"`` names in this model's folder.

        Raises
        ------
        SpecError
            If there is no such module or function.
        """
        module_name, function_name = reference.split(":")
        module = _import(self.folder, module_name)
        function = getattr(module, function_name, None)
        if not callable(function):
            raise SpecError(
                f"{self.folder.name}: {reference!r} names no function; "
                f"{module.__file__} has none called {function_name!r}"
            )
        return function  # type: ignore[no-any-return]


def load_models(models_dir: Path) -> dict[str, Model]:
    """Read every model folder, by model name.

    Raises
    ------
    SpecError
        If the folder is missing, or any spec in it is wrong; the message names folder, field, value and what would be
        right.
    """
    models: dict[str, Model] = {}
    for folder in model_folders(models_dir):
        model = load_folder(folder)
        if model.spec.name in models:
            raise _clash(folder, models[model.spec.name])
        models[model.spec.name] = model
    return models


def load_model(models_dir: Path, name: str) -> Model:
    """The model of that name.

    Raises
    ------
    UnknownModelError
        If there is none; the message lists those that there are.
    SpecError
        As in :func:`load_models`.
    """
    wrong: SpecError | None = None
    there: list[str] = []
    named: Model | None = None
    for folder in model_folders(models_dir):
        try:
            model = load_folder(folder)
        except SpecError as error:
            # Another model's wrong spec must not keep this one from being watched or rolled back.
            wrong = error
            continue
        if model.spec.name == name and named is not None:
            raise _clash(folder, named)
        if model.spec.name == name:
            named = model
        there.append(model.spec.name)
    if named is not None:
        return named
    if wrong is not None:
        raise wrong
    raise UnknownModelError(f"there is no model {name!r} in {models_dir}; there are {sorted(there) or 'none'}")


def model_folders(models_dir: Path) -> list[Path]:
    """Every folder with a spec.py in it, by name.

    Raises
    ------
    SpecError
        If ``models_dir`` is no folder.
    """
    if not models_dir.is_dir():
        raise SpecError(
            f"models_dir is {str(models_dir)!r}; it must be a folder with one folder a model, each with a spec.py"
        )
    return sorted(spec_file.parent for spec_file in models_dir.glob("*/spec.py"))


def _clash(folder: Path, taken_by: Model) -> SpecError:
    return SpecError(
        f"{folder / 'spec.py'}: the name {taken_by.spec.name!r} is taken by {taken_by.folder.name}: "
        "each model needs its own"
    )


def load_folder(folder: Path) -> Model:
    """The model of a folder.

    Raises
    ------
    SpecError
        If its spec is wrong, names a function that is not there, or does not import.
    """
    try:
        spec = getattr(_import(folder, "spec"), "SPEC", None)
    except ValidationError as error:
        raise SpecError(_explain(folder / "spec.py", error)) from error
    if not isinstance(spec, ModelSpec):
        raise SpecError(f"{folder / 'spec.py'}: SPEC is {type(spec).__name__}; it must be a trimtab.spec.ModelSpec")
    model = Model(spec, folder)
    for reference in (spec.source, *(trainer.function for trainer in spec.trainers)):
        model.function(reference)
    return model


def _import(folder: Path, module_name: str) -> ModuleType:
    """Import a module of a model's folder, afresh when its file has changed."""
    package = "trimtab_models_" + content_id("m", str(folder.absolute())).removeprefix("m-")
    if package not in sys.modules:
        root = ModuleType(package)
        root.__path__ = [str(folder)]
        sys.modules[package] = root
    name = f"{package}.{module_name}"
    path = folder.joinpath(*module_name.split(".")).with_suffix(".py")
    if not path.is_file():
        raise SpecError(f"{folder.name}: there is no module {module_name!r}; {path} does not exist")
    loaded = sys.modules.get(name)
    stamp = path.stat().st_mtime_ns
    if loaded is not None and getattr(loaded, "__trimtab_stamp__", None) == stamp:
        return loaded
    module_spec = importlib.util.spec_from_file_location(name, path)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[name] = module
    try:
        module_spec.loader.exec_module(module)
    except (ValidationError, SpecError):
        del sys.modules[name]
        raise
    except Exception as error:
        del sys.modules[name]
        raise SpecError(f"{path} does not import: {type(error).__name__}: {error}") from error
    module.__trimtab_stamp__ = stamp  # type: ignore[attr-defined]
    return module


def _explain(path: Path, error: ValidationError) -> str:
    # The parts of a spec are made before it and know no path into it: their class and line tell which one it is.
    line = next(
        (f":{each.lineno}" for each in reversed(extract_tb(error.__traceback__)) if each.filename == str(path)), ""
    )
    lines = [f"{path}{line}: the spec is refused, in {error.title}:"]
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"]) or "spec"
        value = "" if problem["type"] in ("missing", "value_error") and not problem["loc"] else f" is {_shown(problem)}"
        value = " is missing" if problem["type"] == "missing" else value
        lines.append(f"  {where}{value}: {_remedy(problem, error.title)}")
    return "\n".join(lines)


def _shown(problem: ErrorDetails) -> str:
    given = problem["input"]
    return f"{type(given).__name__}(...)" if isinstance(given, BaseModel) else repr(given)


def _remedy(problem: ErrorDetails, title: str) -> str:
    if problem["type"] == "tuple_type" and isinstance(problem["input"], str):
        return f"must be a tuple: ({problem['input']!r},)"
    if problem["type"] == "extra_forbidden":
        close = get_close_matches(str(problem["loc"][-1]), _fields(title, problem["loc"][:-1]), n=1)
        return "there is no such field" + (f"; did you mean {close[0]!r}?" if close else "")
    return problem["msg"].removeprefix("Value error, ")


def _fields(title: str, path: tuple[int | str, ...]) -> list[str]:
    """Names of the fields of the spec's part that is made under ``title``, or that lies at ``path`` within it."""
    part: Any = getattr(trimtab.spec, title, None)
    for step in path:
        if isinstance(step, str) and part is not None:
            annotation = part.model_fields[step].annotation
            inner = (annotation, *get_args(annotation))
            part = next((each for each in inner if isinstance(each, type) and issubclass(each, BaseModel)), None)
    return list(part.model_fields) if part is not None else []
