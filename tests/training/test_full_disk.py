"""A file that cannot be written: which one is told, nothing half is left, and it goes on later.

Here files may not become large, which needs no rights. `python scripts/fill_disk.py` fills a file
system, at random moments.
"""

import errno
import io
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import TINY_RUN, write_images
from tests.processes import at_once
from vision_attn.cli.main import main
from vision_attn.core.errors import UserError

Trained = tuple[Path, Path]
Capture = pytest.CaptureFixture[str]
EPOCHS = ["--trainer.max_epochs", "2", "--overlays", "false"]


def left(folder: Path) -> list[str]:
    """What is hidden in a folder, but for what says that a run was begun."""
    names = [path.name for path in folder.rglob(".*")]
    return [name for name in names if name not in (".fit", ".fit.lock")]


@pytest.fixture(scope="module")
def peaceful(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The weights of a training on a disk with room."""
    place = tmp_path_factory.mktemp("peaceful")
    for split, count in (("train", 12), ("test", 4)):
        for color, name in enumerate(("red", "green")):
            write_images(place / split / name, count, color)
    words = ["fit", "--data", str(place), *TINY_RUN, *EPOCHS, "--run_dir", str(place / "run")]
    assert main(words) == 0
    return (place / "run" / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("largest", "file"),
    [(1_000, "config.yaml"), (100_000, "model.safetensors"), (250_000, "checkpoints/last.ckpt")],
)
def test_a_training(
    largest: int, file: str, image_root: Path, tmp_path: Path, peaceful: bytes
) -> None:
    run = tmp_path / "run"
    words = ["fit", "--data", str(image_root), *TINY_RUN, *EPOCHS, "--run_dir", str(run)]
    ((code, told),) = at_once([words], tmp_path, largest)
    assert code == 2
    (line,) = [line for line in told.splitlines() if line.startswith("vision-attn: ")]
    assert f"{run}/{file} was not written: File too large" in line
    assert "Traceback" not in told
    assert left(run) == []
    assert not (run / file).exists()
    assert main(words) == 0
    assert (run / "model.safetensors").read_bytes() == peaceful


COMMANDS = {
    "predict": (["IMAGES", "--out", "OUT.csv"], 100, "out.csv.part"),
    "explain": (["IMAGES", "--explainers", "evidence", "--out", "OUT"], 5_000, ".png"),
    "evaluate": (
        ["--metrics", "deletion", "--explainers", "evidence", "--out", "OUT"],
        100,
        "evaluation.json",
    ),
    "report": (["--out", "OUT.html"], 20_000, "out.html"),
    "export": (["--format", "torch_export", "--out", "OUT.pt2"], 100_000, "out.pt2"),
}


def no_maps(*_: object) -> None:
    raise UserError("left out, as it takes seconds")


def exported(*_: object) -> Any:
    """A model that takes no seconds to be written."""
    return SimpleNamespace(exported=None, sizes=SimpleNamespace(any=True))


def saved(model: object, file: io.BytesIO, **_: object) -> None:
    """As torch does it; onto a path, it would end the process in the middle."""
    file.write(bytes(200_000))


@pytest.mark.parametrize("command", COMMANDS)
def test_what_other_verbs_write(
    command: str, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vision_attn.evaluation.report.page.map_quality", no_maps)
    monkeypatch.setattr("vision_attn.export.torch_export.program", exported)
    monkeypatch.setattr("vision_attn.export.torch_export.description", lambda *_: {})
    monkeypatch.setattr("torch.export.save", saved)
    more, largest, file = COMMANDS[command]
    place = tmp_path / "place"
    place.mkdir()
    known = {"IMAGES": str(trained[1] / "test")}
    words = [known.get(word, word.replace("OUT", str(place / "out"))) for word in more]
    words = [command, str(trained[0]), *words]
    ((code, told),) = at_once([words], tmp_path, largest)
    assert code == 2, told
    (line,) = [line for line in told.splitlines() if line.startswith("vision-attn: ")]
    assert f"{file} was not written: File too large" in line
    assert "Traceback" not in told
    assert left(place) == []
    assert not (place / "out.csv").exists()
    if command == "predict":
        assert main([*words, "--resume"]) == 0
        assert len((place / "out.csv").read_text().splitlines()) == 1 + 8


def no_space(*_: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


LOGS = {
    "csv": ("lightning.fabric.loggers.csv_logs._ExperimentWriter.NAME_METRICS_FILE", "/dev/full"),
    "tensorboard": ("tensorboard.summary.writer.record_writer.RecordWriter.write", no_space),
}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("log", LOGS)
def test_logs(
    log: str, image_root: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run whose log cannot be written stops, and goes on when it can."""
    run = tmp_path / "run"
    words = ["fit", "--data", str(image_root), "--run_dir", str(run), *TINY_RUN, *EPOCHS]
    with monkeypatch.context() as patch:
        patch.setattr(*LOGS[log])
        assert main(words) == 2
    told = capsys.readouterr().err
    assert f"the disk is full: a log in {run}/logs was not written" in told
    assert "Traceback" not in told
    again = ["fit", "--run_dir", str(run), "--resume", "--report", "false", "--overlays", "false"]
    assert main(again if (run / "checkpoints" / "last.ckpt").exists() else words) == 0
    assert "test/accuracy" in json.loads((run / "metrics.json").read_text())


def test_a_page_at_the_end(
    image_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is whole; the exit code tells that its page is not."""
    monkeypatch.setattr("vision_attn.evaluation.report.page.map_quality", no_maps)
    monkeypatch.setattr(
        "vision_attn.evaluation.report.page.render", lambda contents: "x" * 2_000_000
    )
    run = tmp_path / "run"
    words = ["fit", "--data", str(image_root), "--run_dir", str(run), *TINY_RUN, *EPOCHS]
    ((code, told),) = at_once([[*words, "--report", "true"]], tmp_path, 1_000_000)
    assert code == 2
    assert "report.html was not written: File too large" in told
    assert (run / "metrics.json").exists()
