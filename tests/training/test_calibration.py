"""A calibrated model: probabilities that can be read, the same classes, exact sums of evidence."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from tests.conftest import TINY_RUN, write_images
from vision_attn.cli.main import main
from vision_attn.export.hub_model import HubClassifier
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.runs.folder import RunFolder
from vision_attn.training.calibration import HeldOut, calibrate


def held_out(count: int = 40) -> HeldOut:
    random = torch.Generator().manual_seed(0)
    targets = torch.arange(count) % 3
    logits = 0.3 * torch.eye(3)[targets] + 0.05 * torch.randn(count, 3, generator=random)
    return HeldOut(logits, targets, "validation images")


class TestCalibrate:
    def test_logits_and_evidence_are_divided_alike(
        self, tiny_model: Callable[..., AttentionClassifier]
    ) -> None:
        model, images = tiny_model(), torch.rand(5, 3, 64, 64)
        logits, evidence = model(images).detach(), model.evidence(images).detach()
        temperature = calibrate(model, held_out())
        assert 0.01 < temperature < 0.5
        assert_close(model(images), logits / temperature, rtol=1e-4, atol=1e-4)
        assert_close(model.evidence(images), evidence / temperature, rtol=1e-4, atol=1e-4)
        total = model.evidence(images).sum((2, 3)) + model.head.bias
        assert_close(total, model(images), rtol=1e-5, atol=1e-5)

    def test_it_says_what_it_did(
        self, tiny_model: Callable[..., AttentionClassifier], capsys: pytest.CaptureFixture[str]
    ) -> None:
        temperature = calibrate(tiny_model(), held_out())
        line = f"calibrated by temperature {temperature:.3g}, fitted on 40 validation images: "
        assert line in capsys.readouterr().out

    @pytest.mark.parametrize("count", [0, 1, 19])
    def test_too_few_images(
        self,
        count: int,
        tiny_model: Callable[..., AttentionClassifier],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        model = tiny_model()
        before = model.head.weight.clone()
        assert calibrate(model, held_out(count)) == 1
        assert torch.equal(model.head.weight, before)
        assert f"not: {count} validation images are too few" in capsys.readouterr().out


def many_images(image_root: Path) -> None:
    for number, color in enumerate(("red", "green")):
        write_images(image_root / "train" / color, 40, number)


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
class TestRun:
    def trained(self, loss: str, image_root: Path, run: Path, *more: str) -> RunFolder:
        many_images(image_root)
        words = ["fit", "--data", str(image_root / "train"), *TINY_RUN, "--epochs", "2"]
        words += ["--data.val_fraction", "0.3", "--model.loss", loss, "--run_dir", str(run)]
        assert main([*words, *more]) == 0
        return RunFolder(run)

    def test_the_file_says_the_temperature(
        self, loss: str, image_root: Path, tmp_path: Path
    ) -> None:
        """Weights are those of an uncalibrated run; loading divides the head by it."""
        run = self.trained(loss, image_root, tmp_path / "run")
        plain = self.trained(loss, image_root, tmp_path / "plain", "--calibrate", "false")
        spec = run.load_spec()
        assert spec.temperature != 1
        assert plain.load_spec().temperature == 1
        assert spec.activation == "softmax"
        assert plain.load_spec().activation == (
            "sigmoid" if loss == "binary_cross_entropy" else "softmax"
        )
        found, expected = (load_file(one.weights) for one in (run, plain))
        for name, tensor in expected.items():
            assert torch.equal(found[name], tensor), name
        head, before = (one.load_model().head for one in (run, plain))
        assert_close(head.weight, before.weight / spec.temperature)
        assert_close(head.bias, before.bias / spec.temperature)
        scores, plain_scores = (json.loads(one.metrics.read_text()) for one in (run, plain))
        assert scores["test/accuracy"] == plain_scores["test/accuracy"]

    @pytest.mark.parametrize("kind", ["onnx", "torch_export", "hub"])
    def test_exports_are_calibrated(
        self, kind: str, loss: str, image_root: Path, tmp_path: Path
    ) -> None:
        """`export` compares the exported logits with those of the calibrated model."""
        run = self.trained(loss, image_root, tmp_path / "run")
        out = tmp_path / {"torch_export": "out.pt2", "onnx": "out.onnx", "hub": "out"}[kind]
        assert main(["export", str(run.path), "--format", kind, "--out", str(out)]) == 0
        if kind == "hub":
            hub = HubClassifier.from_pretrained(str(out))
            images = torch.rand(3, 3, 32, 32)
            assert_close(hub(images), run.load_model()(images))
            assert hub.activation == "softmax"

    def test_scoring_again_gives_the_same(
        self, loss: str, image_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run = self.trained(loss, image_root, tmp_path / "run")
        expected = json.loads(run.metrics.read_text())
        capsys.readouterr()
        assert main(["test", str(run.path)]) == 0
        printed = capsys.readouterr().out
        for name in ("loss", "calibration_error"):
            assert f"{expected[f'test/{name}']:.4f}" in printed, name


@pytest.mark.parametrize("value", [0, -1, "1", None, True, float("nan"), float("inf")])
def test_temperatures_of_untrusted_files(
    value: object, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = json.loads((run / "model.json").read_text())
    (run / "model.json").write_text(json.dumps(spec | {"temperature": value}))
    assert main(["test", str(run)]) == 2
    assert "model.json is damaged" in capsys.readouterr().err
