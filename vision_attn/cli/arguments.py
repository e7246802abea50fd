"""Options that verbs share: errors in one line, with the nearest option; where results go."""

import argparse
import datetime
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain, count
from pathlib import Path

from vision_attn.core.errors import UserError, did_you_mean

MARK = ".in_use"


class Options(argparse.ArgumentParser):
    """argparse without abbreviations, whose errors are `UserError`s."""

    def __init__(self, verb: str, description: str, **kwargs: object) -> None:
        super().__init__(
            prog=f"vision-attn {verb}",
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **kwargs,  # type: ignore[arg-type]
        )

    def error(self, message: str) -> None:  # type: ignore[override]
        """Raise what was wrong, with a hint for a misspelt option."""
        unknown = re.search(r"unrecognized arguments: (\S+)", message)
        if unknown:
            hint = did_you_mean(unknown[1], self._option_string_actions)
            raise UserError(f"{self.prog}: there is no option {unknown[1]}.{hint}")
        raise UserError(f"{self.prog}: {message}.")


@contextmanager
def own_folder(named: str | None, usual: Path) -> Iterator[Path]:
    """Where results go: a new or an empty folder, which no other process takes meanwhile.

    Args:
        named: what the user named; None takes a new folder, called by date and time.
        usual: where that one lies.

    Raises:
        UserError: there is something in the folder, or another process writes into it.
    """
    out = Path(named) if named else first_free(usual)
    if named and not claim(out):
        raise UserError(f"--out: {out} is not empty; name a new folder.")
    try:
        yield out
    finally:
        (out / MARK).unlink(missing_ok=True)
        with suppress(OSError):  # where results have come it is not empty, and stays
            out.rmdir()


def first_free(usual: Path) -> Path:
    """A folder called by date and time; of those begun in one second, the next have a number."""
    now = f"{datetime.datetime.now():%Y-%m-%d-%H%M%S}"
    names = chain([now], (f"{now}-{number}" for number in count(2)))
    return next(usual / name for name in names if claim(usual / name))


def claim(out: Path) -> bool:
    """Take a folder that is empty or not there; whether no other process was faster."""
    from vision_attn.core.atomic import unwritten

    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            return False
        (out / MARK).touch(exist_ok=False)
    except FileExistsError:
        return False
    except OSError as error:
        raise unwritten(out, error) from error
    return True


def free_file(named: str) -> Path:
    """Where a single file of results goes: a place where there is none.

    Raises:
        UserError: there is something.
    """
    out = Path(named)
    if out.exists():
        raise UserError(f"--out: {out} exists; name a new file.")
    return out
