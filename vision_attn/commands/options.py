"""Options that verbs share: errors in one line, with the nearest option; where results go."""

import argparse
import datetime
import re
from pathlib import Path

from vision_attn.errors import UserError, did_you_mean


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


def free_folder(named: str | None, usual: Path) -> Path:
    """Where results go: an empty or a new folder.

    Raises:
        UserError: there is something in it.
    """
    out = Path(named) if named else usual / f"{datetime.datetime.now():%Y-%m-%d-%H%M%S}"
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--out: {out} is not empty; name a new folder.")
    return out


def free_file(named: str) -> Path:
    """Where a single file of results goes: a place where there is none.

    Raises:
        UserError: there is something.
    """
    out = Path(named)
    if out.exists():
        raise UserError(f"--out: {out} exists; name a new file.")
    return out
