"""Option parsing that every verb shares: errors in one line, with the nearest option."""

import argparse
import re

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
