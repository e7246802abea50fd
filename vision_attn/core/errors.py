"""The exception that is shown to the user in one or two lines, without a traceback."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """An error that the user can fix: what is wrong, where, and what to do."""


class AlreadyPrinted(UserError):
    """An error that another process of the same command has printed."""


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """A suggestion for a misspelled word, or an empty text.

    >>> did_you_mean("atention", ["attention", "evidence"])
    " Did you mean 'attention'?"
    >>> did_you_mean("xyz", ["attention", "evidence"])
    ''
    """
    close = get_close_matches(word, list(choices), n=1)
    return f" Did you mean '{close[0]}'?" if close else ""


def first_line(error: BaseException) -> str:
    r"""The first line of an error of another library; its class name if it has no message.

    >>> first_line(RuntimeError("too small\nat layer 3")), first_line(AssertionError())
    ('too small', 'AssertionError')
    """
    return (str(error) or type(error).__name__).splitlines()[0]


def one_line(error: BaseException, most: int = 200) -> str:
    r"""The whole message of an error on one line, cut to `most` characters.

    >>> one_line(RuntimeError("too small\nat layer 3"))
    'too small at layer 3'
    """
    return " ".join((str(error) or type(error).__name__).split())[:most]


def few_of(names: Iterable[str], most: int = 3) -> str:
    """The first few names, and how many more there are.

    >>> few_of(["a", "b"]), few_of(["a", "b", "c", "d", "e"])
    ('a, b', 'a, b, c and 2 more')
    """
    listed = list(names)
    more = f" and {len(listed) - most:,} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more
