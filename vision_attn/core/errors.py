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


def first_line(error: BaseException) -> str:
    r"""What an error of another library says, in a line; its name where it says nothing.

    >>> first_line(RuntimeError("too small\nat layer 3")), first_line(AssertionError())
    ('too small', 'AssertionError')
    """
    return (str(error) or type(error).__name__).splitlines()[0]
