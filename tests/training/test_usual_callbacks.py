"""Lightning's usual callbacks work from a configuration file, without --trust."""

from pathlib import Path

import pytest
import yaml

from tests.conftest import fit_from_file
from vision_attn.cli.main import main

CALLBACKS = [
    "DeviceStatsMonitor",
    {"class_path": "EarlyStopping", "init_args": {"monitor": "val/loss"}},
    {"class_path": "GradientAccumulationScheduler", "init_args": {"scheduling": {0: 1}}},
    "LearningRateMonitor",
    {"class_path": "ModelCheckpoint", "init_args": {"monitor": "val/loss"}},
    "ModelSummary",
    "RichModelSummary",
    {"class_path": "StochasticWeightAveraging", "init_args": {"swa_lrs": 0.01}},
    {"class_path": "Timer", "init_args": {"duration": "00:01:00:00"}},
]


@pytest.mark.filterwarnings("ignore")  # Lightning warns of what these callbacks do
def test_they_train_and_resume(
    image_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = {"trainer": {"callbacks": CALLBACKS}}
    assert main(fit_from_file(config, image_root, "run")) == 0
    assert main(["fit", "--run_dir", "run", "--resume", "--epochs", "2", "--report", "false"]) == 0
    callbacks = yaml.safe_load(Path("run/config.yaml").read_text())["trainer"]["callbacks"]
    names = [callback["class_path"].rpartition(".")[2] for callback in callbacks]
    assert names == [c if isinstance(c, str) else c["class_path"] for c in CALLBACKS]
    assert callbacks[-1]["init_args"]["interval"] == "step"
    epochs = [line.split(",")[0] for line in Path("run/results.csv").read_text().splitlines()]
    assert epochs[:3] == ["epoch", "1", "2"]  # weight averaging adds one for batch norms
