"""Models on the Hub: the loaded model equals the published one, and no untrusted code runs."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from vision_attn.cli.main import main
from vision_attn.core.errors import UserError
from vision_attn.export.hub_model import HubClassifier
from vision_attn.runs.folder import RunFolder


@pytest.fixture
def folder(trained: tuple[Path, Path], tmp_path: Path) -> Path:
    """The run exported as a folder for the Hub."""
    path = tmp_path / "published"
    HubClassifier.from_run(trained[0]).save_pretrained(path)
    return path


class FakeHub:
    """A fake of huggingface_hub's client: one repository, stored in a folder."""

    path: Path

    def __init__(self, token: str | None = None) -> None:
        self.repo_id = ""

    def create_repo(self, repo_id: str, **_: Any) -> "FakeHub":
        self.repo_id = repo_id
        return self

    def file_exists(self, repo_id: str, name: str, revision: str | None = None) -> bool:
        return (self.path / name).exists()

    def upload_folder(self, folder_path: Path, ignore_patterns: Any = None, **_: Any) -> str:
        ignored = shutil.ignore_patterns(*(ignore_patterns or []))
        shutil.copytree(folder_path, self.path, dirs_exist_ok=True, ignore=ignored)
        return "https://huggingface.co/anna/beetles/commit/1"

    @classmethod
    def download(cls, repo_id: str, filename: str, **_: Any) -> str:
        return str(cls.path / filename)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[FakeHub]:
    monkeypatch.setattr(FakeHub, "path", tmp_path / "hub", raising=False)
    for module in ("vision_attn.export.hub_model", "huggingface_hub.hub_mixin"):
        monkeypatch.setattr(f"{module}.HfApi", FakeHub)
        download = lambda repo_id, filename, **options: FakeHub.download(repo_id, filename)  # noqa: E731
        monkeypatch.setattr(f"{module}.hf_hub_download", download)
    return FakeHub


def test_the_loaded_model_has_the_same_outputs(folder: Path, trained: tuple[Path, Path]) -> None:
    model = HubClassifier.from_pretrained(folder)
    images = torch.rand(2, 3, 32, 32)
    own = RunFolder(trained[0]).load_model()
    assert torch.equal(model(images), own(images))
    assert torch.equal(model.evidence(images), own.evidence(images))
    assert not model.training
    assert model.spec.class_names == ["green", "red"]


def test_commands_accept_the_folder_as_a_run(folder: Path, trained: tuple[Path, Path]) -> None:
    photo = trained[1] / "test" / "red" / "000.png"
    words = ["explain", str(folder), str(photo), "--explainers", "evidence", "--out"]
    assert main([*words, str(folder / "pictures")]) == 0
    assert main(["test", str(folder), "--data", str(trained[1] / "test")]) == 0


def test_the_model_card(folder: Path, trained: tuple[Path, Path]) -> None:
    text = (folder / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    front = yaml.safe_load(front)
    assert front["pipeline_tag"] == "image-classification"
    assert front["library_name"] == "vision-attn"
    assert "license" not in front  # the user chooses it
    assert "| test/accuracy | 1.0000 |" in body
    assert "AdamW, lr 0.01" in body
    assert "green, red" in body
    assert "image_folder, root images" in body
    assert str(trained[1].parent) not in text  # private


def test_the_example_of_the_model_card_runs(
    folder: Path, trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    code = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
    shutil.copy(trained[1] / "test" / "red" / "000.png", tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    exec(code.replace("USER/NAME", str(folder)), {})
    assert capsys.readouterr().out.startswith("red ")


def test_push_and_load(trained: tuple[Path, Path], hub: type[FakeHub]) -> None:
    model = HubClassifier.from_run(trained[0])
    model.push_to_hub("anna/beetles")
    names = {path.name for path in hub.path.iterdir()}
    assert names == {"README.md", "config.json", "model.json", "model.safetensors"}
    assert 'from_pretrained("anna/beetles")' in (hub.path / "README.md").read_text()
    loaded = HubClassifier.from_pretrained("anna/beetles")
    images = torch.rand(1, 3, 32, 32)
    assert torch.equal(loaded(images), model(images))


def test_an_edited_model_card_is_not_overwritten(
    trained: tuple[Path, Path], hub: type[FakeHub]
) -> None:
    model = HubClassifier.from_run(trained[0])
    model.push_to_hub("anna/beetles")
    (hub.path / "README.md").write_text("mine")
    (hub.path / "model.json").write_text("{}")
    model.push_to_hub("anna/beetles")
    assert (hub.path / "README.md").read_text() == "mine"
    assert json.loads((hub.path / "model.json").read_text())["class_names"] == ["green", "red"]


def test_scores_are_kept_if_a_loaded_model_is_published(folder: Path, tmp_path: Path) -> None:
    HubClassifier.from_pretrained(folder).save_pretrained(tmp_path / "again")
    assert (tmp_path / "again" / "README.md").read_text() == (folder / "README.md").read_text()


def test_an_untrusted_folder_runs_no_code(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a class named in JSON, nor a trust list in the folder, nor a pickle is loaded."""
    (tmp_path / "untrusted.py").write_text("raise SystemExit('untrusted code ran')")
    monkeypatch.syspath_prepend(tmp_path)
    spec = json.loads((folder / "model.json").read_text())
    hostile = spec | {"pooling": {"class_path": "untrusted.X", "init_args": {}}}
    (folder / "model.json").write_text(json.dumps(hostile))
    config = {"trusted": ["untrusted.X"], "pooling": "untrusted.X", "model_id": "elsewhere"}
    for content in (config, {"config": config, "kwargs": config}):
        (folder / "config.json").write_text(json.dumps(content))
        with pytest.raises(UserError, match="--trust untrusted.X"):
            HubClassifier.from_pretrained(folder)
    refused = spec | {"pooling": {"class_path": "average", "init_args": {"x": 1}}}
    (folder / "model.json").write_text(json.dumps(refused))
    with pytest.raises(UserError, match="average does not accept its arguments"):
        HubClassifier.from_pretrained(folder)
    (folder / "model.json").write_text(json.dumps(spec))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="no weights file"):
        HubClassifier.from_pretrained(folder)
