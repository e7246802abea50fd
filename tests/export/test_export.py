"""Exported models have the outputs of the model and its description, and are never incomplete."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tests.conftest import POOLINGS, TINY, write_images
from vision_attn.cli.main import main
from vision_attn.core.registry import available
from vision_attn.export.base import OUTPUTS, Exporter
from vision_attn.export.delivery import ParityError, export_and_verify
from vision_attn.export.onnx import Onnx
from vision_attn.export.parity import batches, compare
from vision_attn.export.program import Outputs, program
from vision_attn.export.torch_export import TorchExport
from vision_attn.models.backbone import Backbone
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.pooling.base import Pooled, Pooling
from vision_attn.pooling.two_stages import TwoStages
from vision_attn.runs.folder import RunFolder
from vision_attn.runs.loaded_model import LoadedModel
from vision_attn.runs.model_spec import ModelSpec

Build = Callable[..., AttentionClassifier]
Captured = pytest.CaptureFixture[str]


def loaded_model(model: AttentionClassifier, size: int = 32) -> LoadedModel:
    class_path = f"{type(model.pooling).__module__}.{type(model.pooling).__qualname__}"
    spec = ModelSpec(
        "resnet10t",
        TINY,
        4,
        0,
        {"class_path": class_path},
        ["ant", "bee", "cat"],
        size,
        [0.5],
        [0.5],
    )
    return LoadedModel(RunFolder(Path("nowhere")), spec, model)


@pytest.mark.parametrize("name", POOLINGS)
def test_every_pooling_exports_to_onnx(name: str, tmp_path: Path) -> None:
    """On a small network, because torch's tracing takes time per layer."""
    backbone = Backbone("resnet10t", False, 0, TINY, stride=4)
    model = AttentionClassifier(backbone, POOLINGS[name], 3).eval()
    path = tmp_path / "model.onnx"
    images = torch.rand(5, 3, 28, 28)
    exporter = Onnx(fixed_size=True)
    _, parity = export_and_verify(exporter, loaded_model(model, 28), images, path, 1e-4)
    assert all(most <= 1e-4 for most in parity.largest.values())
    found, expected = exporter.open(path)(images), Outputs(model)(images)
    assert list(found) == list(OUTPUTS)
    for output in ("logits", "probabilities"):
        assert_close(found[output], expected[output], atol=1e-4, rtol=0)
    sums = found["evidence"].sum((-2, -1)) + model.head.bias
    assert_close(sums, found["logits"], atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="module")
def exported(trained: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run exported to each format."""
    out = tmp_path_factory.mktemp("exported")
    for name, exporter in available(Exporter).items():
        if name == "web":  # it needs onnxruntime-web; see test_web.py
            continue
        path = out / exporter.file_name
        assert main(["export", str(trained[0]), "--format", name, "--out", str(path)]) == 0
    return out


class TestFiles:
    def test_onnx_has_the_description(self, exported: Path) -> None:
        file = onnx.load(exported / "model.onnx")
        metadata = {entry.key: entry.value for entry in file.metadata_props}
        assert json.loads(metadata["class_names"]) == ["green", "red"]
        assert metadata["image_size"] == "32"
        assert metadata["probabilities"] == "softmax"
        assert [entry.version for entry in file.opset_import if entry.domain == ""] == [18]
        (images,) = file.graph.input
        sides = [side.dim_param or side.dim_value for side in images.type.tensor_type.shape.dim]
        assert sides == ["batch", 3, "height", "width"]
        assert [output.name for output in file.graph.output] == list(OUTPUTS)

    def test_evidence_and_bias_add_up_to_the_logits(self, exported: Path) -> None:
        session = onnxruntime.InferenceSession(exported / "model.onnx")
        bias = json.loads(session.get_modelmeta().custom_metadata_map["bias"])
        images = torch.rand(2, 3, 41, 67).numpy()  # not the model's own size
        logits, evidence = session.run(["logits", "evidence"], {"images": images})
        assert_close(evidence.sum((-2, -1)) + bias, logits, atol=1e-5, rtol=1e-5, check_dtype=False)

    def test_torch_export_has_the_description_and_the_outputs(
        self, exported: Path, trained: tuple
    ) -> None:
        extra = {"vision_attn.json": ""}
        program = torch.export.load(exported / "model.pt2", extra_files=extra).module()
        assert json.loads(extra["vision_attn.json"])["class_names"] == ["green", "red"]
        model = RunFolder(trained[0]).load_model()
        images = torch.rand(7, 3, 45, 32)
        for name, values in Outputs(model)(images).items():
            assert_close(program(images)[name], values)

    def test_no_path_of_this_machine_is_exported(self, exported: Path) -> None:
        here = str(Path(__file__).parents[2]).encode()
        for file in [exported / "model.onnx", *(exported / "hub").iterdir()]:
            assert here not in file.read_bytes(), file
            assert b"/tmp" not in file.read_bytes(), file
        shutil.unpack_archive(exported / "model.pt2", exported / "unpacked", "zip")
        for file in (exported / "unpacked").rglob("*.json"):
            assert here not in file.read_bytes(), file


class TestCommand:
    def test_it_refuses_an_export_that_differs(
        self, trained: tuple[Path, Path], tmp_path: Path, capsys: Captured
    ) -> None:
        out = tmp_path / "new" / "model.onnx"
        words = ["export", str(trained[0]), "--out", str(out), "--fixed_size"]
        assert main([*words, "--tolerance", "1e-12"]) == 1
        message = capsys.readouterr().err
        assert "nothing was written: " in message
        assert "logits differs by" in message
        assert list(out.parent.iterdir()) == []

    def test_it_never_overwrites_a_file(
        self, trained: tuple[Path, Path], tmp_path: Path, capsys: Captured
    ) -> None:
        out = tmp_path / "model.onnx"
        out.write_text("mine")
        assert main(["export", str(trained[0]), "--out", str(out)]) == 2
        assert f"{out} exists; name another path" in capsys.readouterr().err
        assert out.read_text() == "mine"

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--format", "onx"], "Did you mean 'onnx'"),
            (["--format", "torch_export", "--opset", "18"], "--opset cannot be used"),
            (["--opset", "12"], "at least 18"),
            (["--out", "model.pt"], "must have a name like model.onnx"),
            (["--images", "nowhere"], "no file or folder nowhere"),
            (["--tolerance", "0"], "above 0"),
        ],
    )
    def test_errors_are_one_line(
        self, words: list[str], message: str, trained: tuple[Path, Path], capsys: Captured
    ) -> None:
        before = sorted(trained[0].rglob("*"))
        assert main(["export", str(trained[0]), *words]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert len(error.strip().splitlines()) == 1
        assert sorted(trained[0].rglob("*")) == before

    def test_it_refuses_if_the_extra_is_missing(
        self, trained: tuple[Path, Path], capsys: Captured, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        assert main(["export", str(trained[0])]) == 2
        assert 'onnxruntime is missing: pip install "vision-attn[onnx]"' in capsys.readouterr().err

    def test_it_compares_on_other_images_if_the_data_is_missing(
        self, trained: tuple[Path, Path], tmp_path: Path, capsys: Captured
    ) -> None:
        """If the data of the run is missing, an error says so, and --images works instead."""
        run = tmp_path / "run"
        shutil.copytree(trained[0], run)
        text = (run / "config.yaml").read_text()
        (run / "config.yaml").write_text(text.replace(str(trained[1]), str(tmp_path / "gone")))
        words = ["export", str(run), "--format", "torch_export"]
        assert main(words) == 2
        assert "name some: --images DIR" in capsys.readouterr().err
        write_images(tmp_path / "photos", 2, 1)
        (tmp_path / "photos" / "bad.png").write_text("not an image")
        assert main([*words, "--images", str(tmp_path / "photos")]) == 0
        output = capsys.readouterr()
        assert "bad.png" in output.err
        assert "on 2 of the images named" in output.out
        assert (run / "model.pt2").is_file()


class SquareOnly(Pooling):
    """A pooling for grids of one size only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.context_channels = channels
        self.place_logits = torch.nn.Parameter(torch.zeros(4 * 4))

    def forward(self, features: Tensor) -> Pooled:
        weights = self.place_logits.softmax(0).view(1, 1, 4, 4).expand(features.shape[0], 1, 4, 4)
        return Pooled(weights, features.unsqueeze(1))


def test_a_model_with_a_fixed_grid_is_exported_for_one_size() -> None:
    model = AttentionClassifier(Backbone("resnet10t", False, 2, TINY), SquareOnly, 3).eval()
    found = program(model, 32, fixed_size=False)
    assert not found.sizes.any
    assert found.sizes.reason
    images = torch.rand(5, 3, 32, 32)
    assert_close(found.exported.module()(images)["logits"], model(images))


class TestParity:
    def test_batches_differ_in_size_and_cover_all_images(self) -> None:
        images = torch.arange(40.0).view(40, 1, 1, 1).expand(40, 3, 8, 8)
        parts = list(batches(images, any_size=True))
        assert [len(part) for part in parts] == [1, 3, 16, 16, 4, 3]
        assert torch.equal(torch.cat(parts[:-1]), images)
        assert parts[-1].shape[-2:] == (40, 72)
        assert [len(part) for part in batches(images[:1], any_size=False)] == [1, 3]

    @pytest.mark.parametrize("output", OUTPUTS)
    @pytest.mark.parametrize("wrong", [1e-3, torch.nan])
    def test_one_wrong_value_is_found(self, output: str, wrong: float, tiny_model: Build) -> None:
        model = Outputs(tiny_model())

        def other(images: Tensor) -> dict[str, Tensor]:
            found = model(images)
            if len(images) == 3:  # only for one batch size
                found[output][(-1,) * found[output].ndim] += wrong
            return found

        found = compare(model, other, torch.rand(4, 3, 32, 32), False, 1e-4)
        (failure,) = found.failures(1e-4)
        assert failure.startswith(f"{output} differs by")

    def test_unstable_values_are_left_out_and_counted(self) -> None:
        """Max pooling of a constant image: rounding decides which place is the largest."""
        backbone = Backbone("resnet10t", False, 2, TINY)
        model = Outputs(AttentionClassifier(backbone, POOLINGS["maximum"], 3).eval())
        images = torch.rand(20, 3, 64, 64)
        images[7] = 0.5

        def rounded_differently(images: Tensor) -> dict[str, Tensor]:
            return model(images + 1e-7 * torch.randn(images.shape))

        found = compare(model, rounded_differently, images, False, 1e-4)
        left_out, total = found.unstable["attention"]
        assert 0 < left_out < 0.05 * total
        assert found.failures(1e-4) == []

        def wrong(images: Tensor) -> dict[str, Tensor]:
            found = model(images)
            return found | {"attention": found["attention"].flip(-1)}

        assert compare(model, wrong, images, False, 1e-4).failures(1e-4)

    def test_an_export_that_returns_nan_is_refused(self, tiny_model: Build, tmp_path: Path) -> None:
        class Broken(TorchExport):
            def open(self, path: Path, trusted: object = ()) -> Callable:
                run_model = super().open(path)
                return lambda images: {k: v * torch.nan for k, v in run_model(images).items()}

        path = tmp_path / "model.pt2"
        images = torch.rand(4, 3, 32, 32)
        with pytest.raises(ParityError, match="logits differs by nan"):
            export_and_verify(
                Broken(fixed_size=True), loaded_model(tiny_model()), images, path, 1e-4
            )
        assert list(tmp_path.iterdir()) == []


def test_a_pooling_of_two_stages_is_exported_for_its_own_size() -> None:
    """Relating both grids for any size would take torch.export over ten minutes."""
    backbone = Backbone("resnet10t", stride=16)
    model = AttentionClassifier(backbone, TwoStages, 3).eval()
    found = program(model, 64, fixed_size=False)
    assert not found.sizes.any
    assert "two grids" in found.sizes.reason
    images = torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        ours, theirs = Outputs(model)(images), found.exported.module()(images)
    for name, values in ours.items():
        assert_close(theirs[name], values, atol=1e-4, rtol=1e-4)
