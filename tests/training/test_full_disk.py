"""Disk-full errors: the message names the file, no partial file is left, and the run can resume.

These tests limit the file size, which needs no special rights. `python scripts/fill_disk.py` fills
a file system at random moments.
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


def temporary_files(folder: Path) -> list[str]:
    """Hidden files in a folder, without the lock and owner files of a run."""
    names = [path.name for path in folder.rglob(".*")]
    return [name for name in names if name not in (".fit", ".fit.lock")]


@pytest.fixture(scope="module")
def expected_weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The weights of a training without a limit on file sizes."""
    folder = tmp_path_factory.mktemp("unlimited")
    for split, count in (("train", 12), ("test", 4)):
        for color, name in enumerate(("red", "green")):
            write_images(folder / split / name, count, color)
    words = ["fit", "--data", str(folder), *TINY_RUN, *EPOCHS, "--run_dir", str(folder / "run")]
    assert main(words) == 0
    return (folder / "run" / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("largest", "file"),
    [(1_000, "config.yaml"), (100_000, "model.safetensors"), (250_000, "checkpoints/last.ckpt")],
)
def test_fit_reports_the_file_and_can_start_again(
    largest: int, file: str, image_root: Path, tmp_path: Path, expected_weights: bytes
) -> None:
    run = tmp_path / "run"
    words = ["fit", "--data", str(image_root), *TINY_RUN, *EPOCHS, "--run_dir", str(run)]
    ((code, output),) = at_once([words], tmp_path, largest)
    assert code == 2
    (line,) = [line for line in output.splitlines() if line.startswith("vision-attn: ")]
    assert f"{run}/{file} was not written: File too large" in line
    assert "Traceback" not in output
    assert temporary_files(run) == []
    assert not (run / file).exists()
    assert main(words) == 0
    assert (run / "model.safetensors").read_bytes() == expected_weights


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
    raise UserError("left out, since it takes seconds")


def exported(*_: object) -> Any:
    """An exported model that is fast to write."""
    return SimpleNamespace(exported=None, sizes=SimpleNamespace(any=True))


def saved(model: object, file: io.BytesIO, **_: object) -> None:
    """Write to a file object, as torch does; writing to a path would abort the process."""
    file.write(bytes(200_000))


@pytest.mark.parametrize("command", COMMANDS)
def test_other_commands_report_the_file(
    command: str, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vision_attn.evaluation.report.page.map_quality", no_maps)
    monkeypatch.setattr("vision_attn.export.torch_export.program", exported)
    monkeypatch.setattr("vision_attn.export.torch_export.description", lambda *_: {})
    monkeypatch.setattr("torch.export.save", saved)
    more, largest, file = COMMANDS[command]
    folder = tmp_path / "folder"
    folder.mkdir()
    known = {"IMAGES": str(trained[1] / "test")}
    words = [known.get(word, word.replace("OUT", str(folder / "out"))) for word in more]
    words = [command, str(trained[0]), *words]
    ((code, output),) = at_once([words], tmp_path, largest)
    assert code == 2, output
    (line,) = [line for line in output.splitlines() if line.startswith("vision-attn: ")]
    assert f"{file} was not written: File too large" in line
    assert "Traceback" not in output
    assert temporary_files(folder) == []
    assert not (folder / "out.csv").exists()
    if command == "predict":
        assert main([*words, "--resume"]) == 0
        assert len((folder / "out.csv").read_text().splitlines()) == 1 + 8


def no_space(*_: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


LOGS = {
    "csv": ("lightning.fabric.loggers.csv_logs._ExperimentWriter.NAME_METRICS_FILE", "/dev/full"),
    "tensorboard": ("tensorboard.summary.writer.record_writer.RecordWriter.write", no_space),
}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("log", LOGS)
def test_a_run_with_unwritable_logs_stops_and_can_resume(
    log: str, image_root: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run whose log cannot be written stops, and resumes when it can be written again."""
    run = tmp_path / "run"
    words = ["fit", "--data", str(image_root), "--run_dir", str(run), *TINY_RUN, *EPOCHS]
    with monkeypatch.context() as patch:
        patch.setattr(*LOGS[log])
        assert main(words) == 2
    output = capsys.readouterr().err
    assert f"the disk is full: a log in {run}/logs was not written" in output
    assert "Traceback" not in output
    again = ["fit", "--run_dir", str(run), "--resume", "--report", "false", "--overlays", "false"]
    assert main(again if (run / "checkpoints" / "last.ckpt").exists() else words) == 0
    assert "test/accuracy" in json.loads((run / "metrics.json").read_text())


def test_a_report_that_cannot_be_written_is_an_error(
    image_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is complete; the exit code says that its report is not."""
    monkeypatch.setattr("vision_attn.evaluation.report.page.map_quality", no_maps)
    monkeypatch.setattr(
        "vision_attn.evaluation.report.page.render", lambda contents: "x" * 2_000_000
    )
    run = tmp_path / "run"
    words = ["fit", "--data", str(image_root), "--run_dir", str(run), *TINY_RUN, *EPOCHS]
    ((code, output),) = at_once([[*words, "--report", "true"]], tmp_path, 1_000_000)
    assert code == 2
    assert "report.html was not written: File too large" in output
    assert (run / "metrics.json").exists()
