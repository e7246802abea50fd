"""Registry of concepts, found by scanning folders: a concept's file name is its name.

No list is kept by hand. The user's own classes are named by dotted path. A name may carry an
argument after a colon: `contrast:grad_cam`, `grid_pointing:2`.
"""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from vision_attn.core.errors import UserError, did_you_mean

T = TypeVar("T")


def concrete_class(module: ModuleType, base: type[T]) -> type[T] | None:
    """The concrete subclass of `base` that `module` itself defines, if there is one."""
    for value in vars(module).values():
        if (
            inspect.isclass(value)
            and issubclass(value, base)
            and value.__module__ == module.__name__
            and not inspect.isabstract(value)
        ):
            return value
    return None


def available(base: type[T]) -> dict[str, type[T]]:
    """The concrete subclasses of `base` in its folder, by file name.

    >>> from vision_attn.explainers.base import Explainer
    >>> "grad_cam" in available(Explainer)
    True
    """
    folder = importlib.import_module(base.__module__.rpartition(".")[0])
    found: dict[str, type[T]] = {}
    for entry in pkgutil.iter_modules(folder.__path__):
        module = importlib.import_module(f"{folder.__name__}.{entry.name}")
        concept = concrete_class(module, base)
        if concept is not None:
            found[entry.name] = concept
    return found


def available_names(folder: Path, base: str) -> list[str]:
    """The names of `available`, read from the source files without importing them.

    >>> "grad_cam" in available_names(Path(__file__).parents[1] / "explainers", "Explainer")
    True
    """
    subclass = re.compile(rf"^class \w+\({base}\):", flags=re.MULTILINE)
    files = sorted(folder.glob("*.py"))
    return [path.stem for path in files if subclass.search(path.read_text(encoding="utf-8"))]


def get_class(base: type[T], name: str) -> type[T]:
    """The subclass of `base` with a file name in its folder, or with a dotted path.

    Raises:
        UserError: there is no class of that name, or it is not a subclass.
    """
    known = available(base)
    if name in known:
        return known[name]
    if "." not in name:
        kind = re.sub(r"(?<!^)(?=[A-Z])", " ", base.__name__).lower()
        raise UserError(
            f"there is no {kind} '{name}'.{did_you_mean(name, known)} "
            f"Available: {', '.join(sorted(known))}."
        )
    return import_class(base, name)


def import_class(base: type[T], path: str) -> type[T]:
    """The class at a dotted path.

    Raises:
        UserError: it cannot be imported, or is not a subclass of `base`.
    """
    module_name, _, class_name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise UserError(f"cannot import '{path}': {error}.") from error
    if not (inspect.isclass(found) and issubclass(found, base)):
        raise UserError(f"'{path}' is not a subclass of {class_path(base)}.")
    return found


def class_path(found: type) -> str:
    """The dotted path of a class.

    >>> class_path(UserError)
    'vision_attn.core.errors.UserError'
    """
    return f"{found.__module__}.{found.__qualname__}"


def short_path(base: type[object], path: str) -> str:
    """The name of a class for files: its file name if it is ours, else its dotted path.

    >>> from vision_attn.explainers.base import Explainer
    >>> short_path(Explainer, "vision_attn.explainers.grad_cam.GradCam")
    'grad_cam'
    """
    ours = {class_path(found): name for name, found in available(base).items()}
    return ours.get(path, path)


def with_short_paths(base: type[object], spec: dict[str, Any]) -> dict[str, Any]:
    """A class and its arguments with short names; arguments may also be classes."""
    arguments = {
        key: with_short_paths(base, value) if is_class_spec(value) else value
        for key, value in (spec.get("init_args") or {}).items()
    }
    return {"class_path": short_path(base, spec["class_path"]), "init_args": arguments}


def is_class_spec(value: object) -> bool:
    """Whether a configuration value is a class with arguments."""
    return isinstance(value, dict) and "class_path" in value


def create_all(base: type[T], names: Sequence[str], option: str) -> dict[str, T]:
    """Instances of several classes, by their names.

    Raises:
        UserError: no name is given, a name does not exist, or two names are the same.
    """
    wanted = [name.strip() for name in names if name.strip()]
    if not wanted:
        raise UserError(f"{option}: no name is given.")
    found = {short_name(name): create(base, name) for name in wanted}
    if len(found) < len(wanted):
        raise UserError(f"{option}: two of {', '.join(wanted)} have the same name.")
    return found


def short_name(name: str) -> str:
    """A name for tables and files: the last parts of dotted paths.

    >>> short_name("my.module.Brightest"), short_name("contrast:my.module.Brightest")
    ('Brightest', 'contrast:Brightest')
    """
    return ":".join(part.split(".")[-1] for part in name.split(":"))


def create(base: type[T], name: str) -> T:
    """Create one instance; after a colon follows its first argument, a number or another concept.

    Raises:
        UserError: there is no such class, or it takes no argument.
    """
    head, _, rest = name.partition(":")
    found = get_class(base, head)
    if not rest:
        return found()
    argument = int(rest) if rest.isdecimal() else create(base, rest)
    try:
        return found(argument)  # type: ignore[call-arg]
    except TypeError:
        raise UserError(f"{head} takes no argument, so ':{rest}' cannot follow it.") from None
