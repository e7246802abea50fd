"""A short fuzz of untrusted files finds nothing, and the watch sees what it must see."""

import subprocess
import sys
from pathlib import Path

from tests.scripts.test_scripts import SCRIPTS, call


def watched(code: str, folder: Path) -> str:
    """Run code under the watch, which allows changes in `folder` only; what the watch found."""
    program = (
        "import os, pathlib, subprocess, contextlib\n"
        f"from watch import Watch\nwatch = Watch()\nfolder = pathlib.Path({str(folder)!r})\n"
        "with contextlib.suppress(RuntimeError), watch.watching(folder / 'inside'):\n"
        f"    {code}\n"
        "print(watch.found)"
    )
    (folder / "inside").mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=SCRIPTS,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def test_no_example_gets_out() -> None:
    output = call("fuzz_untrusted.py", "--examples", "30", "--seed", "0")
    counts = dict(line.rsplit(maxsplit=1) for line in output.splitlines())
    assert counts["examples"] == "30"
    assert int(counts["refused (2)"]) >= 8
    assert int(counts["done (0 or 1)"]) >= 3
    assert counts["processes started"] == counts["files outside"] == counts["tracebacks"] == "0"


def test_the_watch_sees_and_stops_a_process(tmp_path: Path) -> None:
    code = f"subprocess.run(['touch', {str(tmp_path / 'ran')!r}])"
    assert "subprocess.Popen ('touch'" in watched(code, tmp_path)
    assert not (tmp_path / "ran").exists()


def test_the_watch_sees_and_stops_a_write_elsewhere(tmp_path: Path) -> None:
    code = "(folder / 'ran').write_text('x')"
    assert "('outside', \"open" in watched(code, tmp_path)
    assert not (tmp_path / "ran").exists()


def test_the_watch_follows_links_out_of_a_folder(tmp_path: Path) -> None:
    code = "(folder / 'inside' / 'link' / 'ran').mkdir()"
    (tmp_path / "outside").mkdir()
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "link").symlink_to(tmp_path / "outside")
    assert "outside/ran" in watched(code, tmp_path)
    assert not (tmp_path / "outside" / "ran").exists()


def test_the_watch_allows_writes_in_the_folder(tmp_path: Path) -> None:
    assert watched("(folder / 'inside' / 'new').write_text('x')", tmp_path) == "[]\n"
