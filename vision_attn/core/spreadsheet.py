"""Text in CSV files that users open in a spreadsheet."""

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def text_cell(text: str) -> str:
    """A text for a CSV file, with an apostrophe before what a spreadsheet would calculate.

    A file may have the name `=HYPERLINK(...)`. Numbers are not texts, and stay as they are. Tables
    that this package reads again, split.csv and table.csv, hold names as they are, since a changed
    name is another file. See https://owasp.org/www-community/attacks/CSV_Injection.

    >>> text_cell("=1+1.png"), text_cell("a=b.png")
    ("'=1+1.png", 'a=b.png')
    """
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text
