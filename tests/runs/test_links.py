"""Links in a run folder from elsewhere: no command writes through them to another place."""

import shutil
from pathlib import Path

import pytest

from tests.test_untrusted import refused
from vision_attn.cli.main import main
from vision_attn.core.errors import UserError
from vision_attn.runs.links import check_links

Capture = pytest.CaptureFixture[str]
Trained = tuple[Path, Path]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A folder of the user, outside the run."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    return tmp_path / "mine"


def link(path: Path, target: Path) -> None:
    """Make a link in place of a file or folder."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def untouched(mine: Path) -> bool:
    """Whether the user's folder is as it was."""
    return [path.name for path in mine.iterdir()] == ["file"] and (
        (mine / "file").read_text() == "mine"
    )


@pytest.mark.parametrize("name", ["logs", "logs/csv", "logs/tensorboard", "logs/csv/version_1"])
def test_resuming_refuses_linked_folders(name: str, run: Path, mine: Path, capsys: Capture) -> None:
    link(run / name, mine)
    refused(
        ["fit", "--run_dir", str(run), "--resume"], capsys, f"{run / name} is a link that leads"
    )
    assert untouched(mine)


def test_resuming_refuses_linked_checkpoints(run: Path, mine: Path, capsys: Capture) -> None:
    shutil.copy(run / "checkpoints" / "last.ckpt", mine.parent / "elsewhere.ckpt")
    link(run / "checkpoints" / "last.ckpt", mine.parent / "elsewhere.ckpt")
    refused(["fit", "--run_dir", str(run), "--resume"], capsys, "last.ckpt is a link that leads")


@pytest.mark.parametrize("target", ["file", "missing"])
def test_resuming_refuses_a_linked_lock(
    target: str, run: Path, mine: Path, capsys: Capture
) -> None:
    link(run / ".fit.lock", mine / target)
    refused(["fit", "--run_dir", str(run), "--resume"], capsys, ".fit.lock is a link that leads")
    assert untouched(mine)


FILES = [
    ".fit", "environment.json", "metrics.json", "model.json", "model.safetensors", "report.html",
    "results.csv", "config.yaml", "split.csv",
]  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_linked_file_is_replaced(name: str, run: Path, mine: Path, capsys: Capture) -> None:
    """The link is replaced, and the file that it links to stays."""
    content = (run / name).read_bytes() if (run / name).exists() else b"mine"
    (mine / "file").write_bytes(content)
    link(run / name, mine / "file")
    words = ["fit", "--run_dir", str(run), "--resume", "--trainer.max_epochs", "7"]
    assert main([*words, "--report", "false"]) == 0
    assert main(["report", str(run)]) == 0
    assert (mine / "file").read_bytes() == content


@pytest.mark.parametrize("command", ["explain", "evaluate"])
def test_results_are_not_written_through_a_link(
    command: str, run: Path, mine: Path, trained: Trained, capsys: Capture
) -> None:
    folder = {"explain": "pictures", "evaluate": "evaluations"}[command]
    link(run / folder, mine)
    words = [str(trained[1] / "test")] if command == "explain" else ["--limit", "4"]
    refused([command, str(run), *words], capsys, f"{run / folder} is a link that leads out")
    assert untouched(mine)


def test_links_within_the_run_are_followed(tmp_path: Path) -> None:
    """A run folder may itself be reached by a link, as runs/latest is."""
    (tmp_path / "run" / "other").mkdir(parents=True)
    (tmp_path / "run" / "logs").symlink_to("other")
    (tmp_path / "latest").symlink_to("run")
    run = tmp_path / "latest"
    check_links(run, run / "logs", run / "missing")
    (tmp_path / "run" / "checkpoints").symlink_to("../..")
    with pytest.raises(UserError, match="checkpoints is a link that leads out"):
        check_links(run, run / "checkpoints")
