"""Explainers and metrics by the names that are typed: `evidence`, `contrast:grad_cam`."""

from typing import TypeVar

from vision_attn.errors import UserError

T = TypeVar("T")


def choose(promise: type[T], names: str, option: str) -> dict[str, T]:
    """Instances by their names, parted by commas.

    Raises:
        UserError: no name, or one that nothing has.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if not wanted:
        raise UserError(f"{option} names none.")
    return {short_name(name): chosen(promise, name) for name in wanted}


def short_name(name: str) -> str:
    """What to call it in tables and files: the last part of a dotted path.

    >>> short_name("my.module.Brightest"), short_name("contrast:grad_cam")
    ('Brightest', 'contrast:grad_cam')
    """
    return name.split(".")[-1]


def chosen(promise: type[T], name: str) -> T:
    """One instance; what follows a colon is its first argument, a number or another of its kind."""
    from vision_attn.catalog import resolve

    head, _, rest = name.partition(":")
    found = resolve(promise, head)
    if not rest:
        return found()
    argument = int(rest) if rest.isdigit() else chosen(promise, rest)
    try:
        return found(argument)  # type: ignore[call-arg]
    except TypeError:
        raise UserError(f"{head} takes nothing after a colon, not ':{rest}'.") from None
