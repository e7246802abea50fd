"""Places that may be read, but not written: one line each, exit code 2, and nothing changed."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import TINY_RUN
from vision_attn.cli.main import main

NOBODY = 65534


def environment_is_open() -> bool:
    """Whether other users may read this Python environment: modules are still imported from it."""
    places = [Path(name).resolve() for name in (sys.prefix, sys.base_prefix, __file__)]
    folders = {folder for place in places for folder in [place, *place.parents]}
    return all(folder.stat().st_mode & 0o005 for folder in folders)


@pytest.fixture
def reader(trained: tuple[Path, Path], tmp_path: Path) -> Iterator[Path]:
    """A folder that cannot be written, with a run and images; as nobody, if we are root.

    Root may write everywhere, so it becomes another user meanwhile.
    """
    place = tmp_path / "shared"
    shutil.copytree(trained[0], place / "run")
    shutil.copytree(trained[1], place / "photos")
    config = place / "run" / "config.yaml"
    config.write_text(config.read_text().replace(str(trained[1]), str(place / "photos")))
    for parent, _, files in os.walk(place):
        Path(parent).chmod(0o555)
        for file in files:
            Path(parent, file).chmod(0o444)
    above = [path for path in tmp_path.parents if path.stat().st_mode & 0o005 != 0o005]
    before = {path: path.stat().st_mode for path in [*above, tmp_path]}
    is_root = os.geteuid() == 0
    if is_root and not environment_is_open():
        pytest.skip("other users may not read this Python environment")
    if is_root:
        for path in before:
            path.chmod(0o755)
        os.seteuid(NOBODY)
    yield place
    if is_root:
        os.seteuid(0)
    for path, mode in before.items():
        path.chmod(mode)
    for parent, _, _ in os.walk(place):
        Path(parent).chmod(0o755)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fit", "--data", "photos", *TINY_RUN], "Choose another folder: --run_dir DIR."),
        (["fit", "--data", "photos", "--run_dir", "photos/run", *TINY_RUN], "--run_dir DIR."),
        (["predict", "run", "photos", "--out", "photos/x.csv"], "photos/x.csv"),
        (["explain", "run", "photos/test/red/000.png"], "Choose another folder: --out DIR."),
        (["explain", "run", "photos/test/red/000.png", "--out", "photos/x"], "--out DIR."),
        (["evaluate", "run", "--explainers", "evidence"], "Choose another folder: --out DIR."),
        (["export", "run", "--format", "torch_export"], "Choose another place: --out PATH."),
        (["report", "run"], "Choose another place: --out FILE."),
        (["check", "photos", "--json", "photos/x.json"], "photos/x.json was not written"),
    ],
)
def test_each_is_refused_in_a_line(
    reader: Path,
    words: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(reader)
    before = sorted(reader.rglob("*"))
    assert main(words) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert said in error
    assert sorted(reader.rglob("*")) == before


def test_a_run_that_cannot_be_written_can_be_tested(
    reader: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(reader)
    assert main(["test", "run", "--data", "photos"]) == 0
    assert "test/accuracy" in capsys.readouterr().out
