"""The run folder: saving and loading models, and errors on damaged files."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from tests.conftest import TINY
from vision_attn.core.atomic import atomic_write
from vision_attn.core.errors import UserError
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.runs.folder import ModelSpec, RunFolder, read_weights
from vision_attn.training.init_from import init_from

Build = Callable[..., AttentionClassifier]
NAMES = ["ant", "bee", "cat"]


def saved(model: AttentionClassifier, path: Path, pooling: str = "global_local") -> RunFolder:
    folder = RunFolder(path)
    spec = ModelSpec(
        backbone="resnet10t",
        backbone_options=TINY,
        stride=None,
        removed_strides=2,
        pooling={"class_path": pooling, "init_args": {}},
        class_names=NAMES,
        image_size=32,
        mean=model.backbone.mean.flatten().tolist(),
        std=model.backbone.std.flatten().tolist(),
    )
    folder.save_model(model, spec)
    return folder


def test_a_saved_model_can_be_loaded(tmp_path: Path, tiny_model: Build) -> None:
    model = tiny_model()
    loaded = saved(model, tmp_path).load_model()
    images = torch.rand(2, 3, 32, 48)
    assert torch.equal(loaded(images), model(images))
    assert not loaded.training


def test_damaged_weights_are_refused(tmp_path: Path, tiny_model: Build) -> None:
    folder = saved(tiny_model(), tmp_path)
    valid = folder.weights.read_bytes()
    for content in (b"", valid[:100], b"\x00" * 200, valid[: len(valid) // 2]):
        folder.weights.write_bytes(content)
        with pytest.raises(UserError, match="model.safetensors is damaged or not a weights file"):
            folder.load_model()


def test_weights_of_another_model_are_refused(tmp_path: Path, tiny_model: Build) -> None:
    folder = saved(tiny_model(), tmp_path)
    content = json.loads(folder.spec_file.read_text())
    folder.spec_file.write_text(json.dumps(content | {"class_names": NAMES[:2]}))
    with pytest.raises(UserError, match=r"does not fit model.json: .*head"):
        folder.load_model()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"backbone": "resnet18"}'])
def test_a_damaged_specification_is_refused(text: str, tmp_path: Path, tiny_model: Build) -> None:
    folder = saved(tiny_model(), tmp_path)
    folder.spec_file.write_text(text)
    with pytest.raises(UserError, match="model.json is damaged"):
        folder.load_model()


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no model"):
        RunFolder(tmp_path).load_spec()


def test_an_untrusted_pooling_is_not_imported(tmp_path: Path, tiny_model: Build) -> None:
    folder = saved(tiny_model(), tmp_path)
    content = json.loads(folder.spec_file.read_text())
    for spec in (
        {"class_path": "antigravity.Pooling"},
        {
            "class_path": "global_local",
            "init_args": {"whole": {"class_path": "antigravity.Pooling"}},
        },
    ):
        folder.spec_file.write_text(json.dumps(content | {"pooling": spec}))
        with pytest.raises(UserError, match=r"custom pooling.*--trust antigravity"):
            folder.load_model()


class Hostile:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("hostile-code-ran"),))


def test_code_in_a_hostile_checkpoint_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Hostile()}, "a.ckpt")
    Path("b.pt").write_bytes(pickle.dumps(Hostile()))
    for name in ("a.ckpt", "b.pt"):
        with pytest.raises(UserError, match="is damaged or not a weights file"):
            read_weights(Path(name))
    assert not Path("hostile-code-ran").exists()


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    atomic_write(path, lambda temporary: temporary.write_text("old"))

    def fail(temporary: Path) -> None:
        temporary.write_text("ne")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        atomic_write(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


class TestInitFrom:
    def test_same_classes_keep_the_head(self, tmp_path: Path, tiny_model: Build) -> None:
        source, model = tiny_model(), tiny_model()
        message = init_from(model, saved(source, tmp_path).path, NAMES)
        count = f"{sum(tensor.numel() for tensor in model.state_dict().values()):,}"
        assert message.startswith(f"loaded {count} of {count} parameters from {tmp_path}, ")
        assert "; new:" not in message
        assert_close(model.head.weight, source.head.weight)

    @pytest.mark.parametrize("names", [["ant", "bee", "dog"], ["a", "b", "c", "d"]])
    def test_other_classes_get_a_new_head(
        self, names: list[str], tmp_path: Path, tiny_model: Build
    ) -> None:
        source, model = tiny_model(), tiny_model(classes=len(names))
        before = model.head.weight.clone()
        message = init_from(model, saved(source, tmp_path).path, names)
        assert message.endswith("; new: head.bias, head.weight")
        assert_close(model.head.weight, before)
        assert_close(model.pooling.global_pooling.queries, source.pooling.global_pooling.queries)

    def test_bare_backbone_weights(self, tmp_path: Path, tiny_model: Build) -> None:
        source, model = tiny_model(), tiny_model()
        torch.save(source.backbone.net.state_dict(), tmp_path / "timm.pth")
        message = init_from(model, tmp_path / "timm.pth", NAMES)
        count = sum(tensor.numel() for tensor in source.backbone.net.state_dict().values())
        assert f"loaded {count:,} of" in message
        assert f"{count:,} of {count:,} in the backbone" in message
        first = next(iter(source.backbone.net.parameters()))
        assert_close(next(iter(model.backbone.net.parameters())), first)

    def test_weights_of_another_architecture_are_refused(
        self, tmp_path: Path, tiny_model: Build
    ) -> None:
        torch.save({"x": torch.zeros(2)}, tmp_path / "other.pt")
        with pytest.raises(UserError, match="fills 0 of the backbone's .* parameters"):
            init_from(tiny_model(), tmp_path / "other.pt", NAMES)
