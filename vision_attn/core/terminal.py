"""Print lines in which text from files cannot pass for a terminal command or for another line.

File names, class names and the messages of errors come from files of others. An escape sequence
in them could clear the screen or set the title of a terminal, a line break could forge a line of
output, and an override of the reading direction could reorder it.
"""

import re
import sys

ERROR_LINES = 3  # that an error takes at most

UNPRINTABLE = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # control characters, among them ESC, line breaks and tabs
    "\u2028\u2029"  # line and paragraph separator
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # reading direction
    "\ud800-\udfff"  # bytes of a file name that are not UTF-8
    "]"
)


def printable(text: str) -> str:
    r"""A text on one line, with control characters as backslash escapes.

    >>> printable("a\nb\udcff.png"), printable("\x1b[2Jred"), printable("größe 7")
    ('a\\nb\\udcff.png', '\\x1b[2Jred', 'größe 7')
    """
    return UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def say(text: str, *, error: bool = False) -> None:
    r"""Print one line of printable text, to standard output or to standard error.

    >>> say("class\tred\n")
    class\tred\n
    """
    print(printable(text), file=sys.stderr if error else sys.stdout, flush=True)


def say_error(message: object) -> None:
    """Print an error on standard error; the lines after its first are indented.

    So a line break in the name of a file forges no line of ours.
    """
    first, *others = f"vision-attn: {message}".split("\n", ERROR_LINES - 1)
    for line in (first, *(f"  {other}" for other in others)):
        say(line, error=True)
