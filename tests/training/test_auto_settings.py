"""Automatically chosen settings are recorded in `config.yaml`, and read from there."""

from pathlib import Path

from tests.conftest import TINY_RUN
from vision_attn.cli.main import main
from vision_attn.training.auto_settings import auto_settings, config_text, recorded_auto_settings


class TestRecordedAutoSettings:
    def test_round_trip(self, tmp_path: Path) -> None:
        settings = {"data": {"batch_size": 8, "seed": 0}, "model": {"stride": None}}
        chosen = auto_settings({"data": {"batch_size": None, "seed": 0}, "model": {}}, settings)
        assert chosen == ["data.batch_size"]
        path = tmp_path / "config.yaml"
        path.write_text(config_text(settings, chosen))
        assert recorded_auto_settings(path) == chosen
        path.write_text(config_text(settings, []))
        assert recorded_auto_settings(path) == []

    def test_a_resumed_run_keeps_the_record(self, image_root: Path, tmp_path: Path) -> None:
        run = tmp_path / "run"
        words = ["fit", "--data", str(image_root), "--run_dir", str(run), *TINY_RUN]
        assert main([*words, "--trainer.max_epochs", "1"]) == 0
        before = recorded_auto_settings(run / "config.yaml")
        assert "model.removed_strides" in before
        again = ["fit", "--run_dir", str(run), "--resume", "--trainer.max_epochs", "2"]
        assert main([*again, "--report", "false"]) == 0
        assert recorded_auto_settings(run / "config.yaml") == before
