"""The Python API of a trained model: load, predict, explain."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vision_attn
from vision_attn.core.errors import UserError


class TestPython:
    def test_the_package_does_not_import_torch(self) -> None:
        code = (
            "import sys, vision_attn; dir(vision_attn);"
            "sys.exit('torch' in sys.modules or 'load' not in dir(vision_attn))"
        )
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
        with pytest.raises(AttributeError, match="no attribute 'lod'"):
            _ = vision_attn.lod

    def test_predict(self, trained: tuple[Path, Path], photos: Path) -> None:
        model = vision_attn.load(trained[0])
        assert model.class_names == ["green", "red"]
        found = model.predict([photos / "a", photos / "b" / "000.png"])
        assert len(found) == 10
        assert found[1].path == photos / "a" / "001.png"
        assert str(found[1].path) in found[1].error
        assert found[1].class_name == ""
        assert math.isnan(found[1].probability)
        assert found[-1].class_name == "red"
        assert found[-1].probability == max(found[-1].probabilities.values())
        assert found[-1].error is None

    def test_explain(self, trained: tuple[Path, Path], photos: Path, tmp_path: Path) -> None:
        model = vision_attn.load(str(trained[0]))
        found = model.explain(
            photos / "a", explainers=["evidence", "attention"], target="red", classes=2
        )
        assert len(found) == 9
        assert found[1].prediction.error is not None
        assert found[1].heatmaps == {}
        assert found[1]._repr_png_() is None
        with pytest.raises(OSError, match=r"001\.png"):
            found[1].save(tmp_path / "none.png")
        for one in [found[0], *found[2:]]:
            assert one.target == "red"
            evidence = one.heatmaps["evidence"].values
            assert float(evidence.double().sum()) + one.bias == pytest.approx(one.logit, abs=1e-4)
            (other,) = [name for name in one.heatmaps if name.startswith("evidence.")]
            assert one.heatmaps[other].target == "green"
        found[0].save(tmp_path / "sheet.png")
        assert np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB")).std() > 20
        assert found[0]._repr_png_().startswith(b"\x89PNG")

    def test_predict_and_explain_give_the_same_predictions(
        self, trained: tuple[Path, Path], photos: Path
    ) -> None:
        model = vision_attn.load(trained[0])
        predictions, explanations = model.predict(photos), model.explain(photos)
        assert sum(one.error is None for one in predictions) == 13
        for one, two in zip(predictions, explanations, strict=True):
            assert one.path == two.prediction.path
            assert one.error == two.prediction.error
            if one.error is None:
                assert one.probabilities == pytest.approx(two.prediction.probabilities, abs=1e-6)

    def test_it_refuses_what_does_not_exist(
        self, trained: tuple[Path, Path], tmp_path: Path
    ) -> None:
        model = vision_attn.load(trained[0])
        with pytest.raises(UserError, match="Did you mean 'green'"):
            model.explain(trained[1], target="gren")
        with pytest.raises(UserError, match="has no images in it"):
            model.predict(tmp_path)
        with pytest.raises(UserError, match="batch_size must be at least 1"):
            model.predict(trained[1], batch_size=0)


def test_explain_runs_the_model_once_per_batch(trained: tuple[Path, Path]) -> None:
    model, calls = vision_attn.load(trained[0]), 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    model.model.head.register_forward_hook(count)
    explanations = model.explain(trained[1] / "test", explainers=["attention"], batch_size=4)
    assert (len(explanations), calls) == (8, 2)
