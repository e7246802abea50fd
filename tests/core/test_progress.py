"""Progress without a terminal: plain lines, not too many, on standard error."""

import pytest

from tests.clock import Clock
from vision_attn.core import progress
from vision_attn.core.pace import Pace
from vision_attn.core.progress import ProgressBar

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr("vision_attn.core.pace.time.monotonic", found.monotonic)
    return found


def test_lines_where_there_is_no_terminal(capsys: Capture, clock: Clock) -> None:
    with ProgressBar("reading", 1_000, done=10) as bar:
        for _ in range(5):
            clock.now += 20
            bar.advance(100)
        bar.rename("reading more")
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = printed.err.splitlines()
    assert lines[-1] == "reading more"
    # After 40 s 210 are done, 100 of them in the second 20 s; 790 more take 158 s.
    assert lines[:-1] == [  # every 30 seconds, not at each call
        "reading: about 3:18 for 1,000 images",
        "reading: 210 of 1,000 images, 5.0 images/s, 2:38 left",
        "reading: 410 of 1,000 images, 5.0 images/s, 1:58 left",
    ]


def test_slow_items_are_counted_per_minute(capsys: Capture, clock: Clock) -> None:
    with ProgressBar("fitting", 6, "fits") as bar:
        for _ in range(6):
            clock.now += 12
            bar.advance()
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "fitting: about 1:12 for 6 fits",
        "fitting: 3 of 6 fits, 5.0 fits/min, 0:36 left",
        "fitting: 6 of 6 fits, 5.0 fits/min, 0:00 left",
    ]


def test_no_time_is_told_for_work_that_is_nearly_done(capsys: Capture, clock: Clock) -> None:
    with ProgressBar("reading", 4) as bar:
        for _ in range(4):
            clock.now += 2
            bar.advance()
    assert capsys.readouterr().err == ""


def test_the_estimate_goes_to_who_asks_for_it(capsys: Capture, clock: Clock) -> None:
    estimates: list[float] = []
    with ProgressBar("reading", 10, on_estimate=estimates.append) as bar:
        for _ in range(5):
            clock.now += 4
            bar.advance()
    assert estimates == [32.0]  # once, after two of ten items
    assert capsys.readouterr().err == "reading: about 0:40 for 10 images\n"


def test_no_time_is_told_if_items_differ(capsys: Capture, clock: Clock) -> None:
    with ProgressBar("explaining", 10, "batches", tells_time=False) as bar:
        for _ in range(4):
            clock.now += 10
            bar.advance()
    assert capsys.readouterr().err == "explaining: 3 of 10 batches, 6.0 batches/min\n"


class TestPace:
    def test_the_first_batch_is_not_measured(self, clock: Clock) -> None:
        pace = Pace(100)
        clock.now = 30.0  # a slow start
        for _ in range(10):
            pace.advance()
        assert pace.per_second == 0
        assert pace.seconds_left == float("inf")
        clock.now = 35.0
        pace.advance(10)
        assert pace.is_measured
        assert pace.per_second == 2.0
        assert pace.seconds_left == 40.0
        assert pace.seconds == 75.0

    def test_time_that_passes_is_subtracted(self, clock: Clock) -> None:
        pace = Pace(3)
        for clock.now in (10.0, 20.0):
            pace.advance()
        clock.now = 26.0
        assert pace.seconds_left == 4.0
        clock.now = 60.0
        assert pace.seconds_left == 0.0


def test_it_yields_everything() -> None:
    assert list(progress.progress(iter("abc"), "reading", 3)) == ["a", "b", "c"]
