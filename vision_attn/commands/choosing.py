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
    from vision_attn.catalog import resolve

    head, _, rest = name.partition(":")
    found = resolve(promise, head)
    if not rest:
        return found()
    argument = int(rest) if rest.isdecimal() else chosen(promise, rest)
    try:
        return found(argument)  # type: ignore[call-arg]
    except TypeError:
        raise UserError(f"{head} takes nothing after a colon, not ':{rest}'.") from None
