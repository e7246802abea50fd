"""Shared by all commands: the argument parser, common options, output files and folders."""

import argparse
import datetime
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain, count
from pathlib import Path
from typing import NoReturn

from vision_attn.core.errors import UserError, did_you_mean

MARKER = ".in_use"


class ArgumentParser(argparse.ArgumentParser):
    """argparse without abbreviations, whose errors are `UserError`s with suggestions."""

    def __init__(
        self,
        command: str,
        description: str,
        epilog: str | None = None,
        usage: str | None = None,
        add_help: bool = True,
    ) -> None:
        self.command = command
        super().__init__(
            prog=f"vision-attn {command}",
            description=description,
            epilog=epilog,
            usage=usage,
            add_help=add_help,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Raise an error of the command line, with a suggestion for a misspelled option."""
        unknown = re.search(r"unrecognized arguments: (\S+)", message)
        if unknown:
            hint = did_you_mean(unknown[1], self._option_string_actions)
            raise UserError(f"{self.command}: there is no option {unknown[1]}.{hint}")
        missing = re.fullmatch(r"the following arguments are required: (.+)", message)
        if missing:
            raise UserError(f"{self.command} needs {missing[1]} (see {self.prog} --help).")
        raise UserError(f"{self.command}: {message}.")

    def add_run(self) -> None:
        """Add the argument RUN, and the option that trusts a run's own classes."""
        self.add_argument("run", metavar="RUN", help="a run folder that fit made")
        self.add_trust("classes of your own that the run may import")

    def add_trust(self, help_text: str) -> None:
        """Add --trust."""
        self.add_argument("--trust", action="append", default=[], metavar="CLASS", help=help_text)


def names_in(text: str) -> list[str]:
    """Names separated by commas.

    >>> names_in("evidence, grad_cam")
    ['evidence', 'grad_cam']
    """
    return [name.strip() for name in text.split(",")]


def check_at_least(options: argparse.Namespace, **least: int) -> None:
    """Refuse numbers that are too small.

    Raises:
        UserError: naming the option and its smallest value.
    """
    for name, smallest in least.items():
        if getattr(options, name) < smallest:
            raise UserError(f"--{name} must be at least {smallest}, not {getattr(options, name)}.")


@contextmanager
def output_folder(named: str | None, usual: Path) -> Iterator[Path]:
    """A new or empty folder for results, locked against other processes.

    Args:
        named: the folder that the user named; None makes a new one, named by date and time.
        usual: the parent folder of that new one.

    Raises:
        UserError: the folder is not empty, another process writes into it, or a link leads
            out of the run folder.
    """
    from vision_attn.runs.links import check_links

    if not named:
        check_links(usual.parent, usual)
    out = Path(named) if named else first_free(usual)
    if named and not _claim(out):
        raise UserError(f"--out: {out} is not empty; name a new folder.")
    try:
        yield out
    finally:
        (out / MARKER).unlink(missing_ok=True)
        with suppress(OSError):  # with results in it, it is not empty and stays
            out.rmdir()


def first_free(usual: Path) -> Path:
    """A new folder named by date and time, with a number appended if that name is taken."""
    now = f"{datetime.datetime.now():%Y-%m-%d-%H%M%S}"
    names = chain([now], (f"{now}-{number}" for number in count(2)))
    return next(usual / name for name in names if _claim(usual / name))


def _claim(out: Path) -> bool:
    """Lock a folder with a marker file; False if it is not empty or another process has it."""
    from vision_attn.core.atomic import write_error

    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            return False
        (out / MARKER).touch(exist_ok=False)
    except FileExistsError:
        return False
    except OSError as error:
        raise write_error(out, error, "Choose another folder: --out DIR.") from error
    return True


def free_file(named: str) -> Path:
    """The path of a new file.

    Raises:
        UserError: there is something at that path.
    """
    out = Path(named)
    if out.exists():
        raise UserError(f"--out: {out} exists; name a new file.")
    return out
