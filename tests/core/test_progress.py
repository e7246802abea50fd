"""Progress without a terminal: plain lines, not too many, on standard error."""

import pytest

from vision_attn.core import progress
from vision_attn.core.progress import ProgressBar


def test_lines_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with ProgressBar("reading", 1_000, done=10) as bar:
        for _ in range(5):
            now += 20
            bar.advance(100)
        bar.rename("reading more")
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = printed.err.splitlines()
    assert lines[-1] == "reading more"
    assert lines[:-1] == [  # every 30 seconds, not at each call
        "reading: 210 of 1,000 images, 5 images/s",
        "reading: 410 of 1,000 images, 5 images/s",
    ]


def test_it_yields_everything() -> None:
    assert list(progress.progress(iter("abc"), "reading", 3)) == ["a", "b", "c"]
