"""Data URIs: pictures inside the HTML of the report."""

import base64


def data_uri(content: bytes, kind: str) -> str:
    """The bytes of a picture file as a data URI.

    >>> data_uri(b"abc", "png")
    'data:image/png;base64,YWJj'
    """
    return f"data:image/{kind};base64," + base64.b64encode(content).decode("ascii")
