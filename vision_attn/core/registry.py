"""Finds concepts by scanning their folder: the file name is the name on the command line.

What is typed may be several, parted by commas, each with an argument: `contrast:grad_cam`.

No list is kept by hand. A class of the user's own is named by its dotted path.
"""

import importlib
import inspect
import pkgutil
import re
from types import ModuleType
from typing import Any, TypeVar

from vision_attn.core.errors import UserError, did_you_mean

T = TypeVar("T")


def concrete_class(module: ModuleType, promise: type[T]) -> type[T] | None:
    """The concrete subclass of `promise` that `module` itself defines, if there is one."""
    for value in vars(module).values():
        if (
            inspect.isclass(value)
            and issubclass(value, promise)
            and value.__module__ == module.__name__
            and not inspect.isabstract(value)
        ):
            return value
    return None


def catalog(promise: type[T]) -> dict[str, type[T]]:
    """Every concept in the folder of `promise`, by file name.

    >>> from vision_attn.explainers.base import Explainer
    >>> "grad_cam" in catalog(Explainer)
    True
    """
    folder = importlib.import_module(promise.__module__.rpartition(".")[0])
    found: dict[str, type[T]] = {}
    for entry in pkgutil.iter_modules(folder.__path__):
        module = importlib.import_module(f"{folder.__name__}.{entry.name}")
        concept = concrete_class(module, promise)
        if concept is not None:
            found[entry.name] = concept
    return found


def resolve(promise: type[T], name: str) -> type[T]:
    """The class for a file name of the folder, or for a dotted path.

    Raises:
        UserError: nothing has that name, or what has it does not keep the promise.
    """
    known = catalog(promise)
    if name in known:
        return known[name]
    kind = re.sub(r"(?<!^)(?=[A-Z])", " ", promise.__name__).lower()
    if "." not in name:
        hint = did_you_mean(name, known)
        raise UserError(
            f"there is no {kind} '{name}'.{hint} There are: {', '.join(sorted(known))}."
        )
    return imported(promise, name)


def imported(promise: type[T], path: str) -> type[T]:
    """The class at a dotted path, checked against the promise."""
    module_name, _, class_name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise UserError(f"cannot import '{path}': {error}.") from error
    if not (inspect.isclass(found) and issubclass(found, promise)):
        raise UserError(f"'{path}' is no {promise.__module__}.{promise.__name__}.")
    return found


def class_path(found: type) -> str:
    """The dotted path of a class.

    >>> class_path(UserError)
    'vision_attn.core.errors.UserError'
    """
    return f"{found.__module__}.{found.__qualname__}"


def short_path(promise: type[object], path: str) -> str:
    """The name by which a file refers to a class: its file name if it is ours, else its path.

    >>> from vision_attn.explainers.base import Explainer
    >>> short_path(Explainer, "vision_attn.explainers.grad_cam.GradCam")
    'grad_cam'
    """
    ours = {class_path(found): name for name, found in catalog(promise).items()}
    return ours.get(path, path)


def with_short_paths(promise: type[object], spec: dict[str, Any]) -> dict[str, Any]:
    """A class and its arguments, named by `short_path`; arguments may be such classes, too."""
    arguments = {
        key: with_short_paths(promise, value) if is_class_spec(value) else value
        for key, value in (spec.get("init_args") or {}).items()
    }
    return {"class_path": short_path(promise, spec["class_path"]), "init_args": arguments}


def is_class_spec(value: Any) -> bool:
    """Whether a value of a configuration names a class."""
    return isinstance(value, dict) and "class_path" in value


def choose(promise: type[T], names: str, option: str) -> dict[str, T]:
    """Instances by their names, parted by commas.

    Raises:
        UserError: no name, or one that nothing has.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if not wanted:
        raise UserError(f"{option} names none.")
    found = {short_name(name): chosen(promise, name) for name in wanted}
    if len(found) < len(wanted):
        raise UserError(f"{option}: two of {', '.join(wanted)} have the same name.")
    return found


def short_name(name: str) -> str:
    """What to call it in tables and files: the last parts of dotted paths.

    >>> short_name("my.module.Brightest"), short_name("contrast:my.module.Brightest")
    ('Brightest', 'contrast:Brightest')
    """
    return ":".join(part.split(".")[-1] for part in name.split(":"))


def chosen(promise: type[T], name: str) -> T:
    """One instance; what follows a colon is its first argument, a number or another of its kind."""
    head, _, rest = name.partition(":")
    found = resolve(promise, head)
    if not rest:
        return found()
    argument = int(rest) if rest.isdecimal() else chosen(promise, rest)
    try:
        return found(argument)  # type: ignore[call-arg]
    except TypeError:
        raise UserError(f"{head} takes nothing after a colon, not ':{rest}'.") from None
