"""The one exception that is told to the user in a line or two, without a traceback."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """Something the user can put right: what is wrong, where, and what to do."""


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """A hint for a misspelt word, or nothing.

    >>> did_you_mean("atention", ["attention", "evidence"])
    " Did you mean 'attention'?"
    >>> did_you_mean("xyz", ["attention", "evidence"])
    ''
    """
    close = get_close_matches(word, list(choices), n=1)
    return f" Did you mean '{close[0]}'?" if close else ""
