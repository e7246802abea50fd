"""Fine-tuning in stages from the command line: probe, tuning, resuming, and what is said."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from tests.conftest import TINY, TINY_RUN, write_images
from vision_attn.cli.main import main
from vision_attn.core import pace as pace_module
from vision_attn.data.datamodule import ImageDataModule
from vision_attn.data.sources.image_folder import ImageFolder
from vision_attn.models.backbone import Backbone
from vision_attn.runs.folder import RunFolder
from vision_attn.training import fit as fit_module
from vision_attn.training.deadline import Deadline
from vision_attn.training.probe import attention as attention_module
from vision_attn.training.probe import stage as stage_module
from vision_attn.training.task import freeze_statistics

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the tiny network, as a file that `--pretrained` takes."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    network = Backbone("resnet10t", options=TINY).net
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path)
    return path


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Colors are told apart without attention."""
    monkeypatch.setattr(attention_module, "MIN_STEPS", 4)


@pytest.fixture
def fit(weights: Path, image_root: Path, tmp_path: Path) -> Callable[..., Path]:
    """Train on the images of `image_root`, from pretrained weights; returns the run folder."""

    def train(*words: str, run: str = "run", code: int = 0) -> Path:
        folder = tmp_path / run
        given = ["fit", "--data", str(image_root), "--run_dir", str(folder), *TINY_RUN]
        assert main([*given, "--pretrained", str(weights), *words]) == code
        return folder

    return train


def splits_of(run: Path) -> dict[str, int]:
    with (run / "split.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: sum(row["split"] == name for row in rows) for name in ("train", "val", "test")}


class TestProbe:
    def test_few_images_are_all_trained_on(
        self, fit: Callable[..., Path], weights: Path, capsys: Capture
    ) -> None:
        run = fit()
        printed = capsys.readouterr().out
        assert "validation images are too few to tell whether tuning helps" in printed
        assert "out of 5 folds" in printed
        assert splits_of(run) == {"train": 24, "val": 0, "test": 8}
        metrics = json.loads((run / "metrics.json").read_text())
        assert metrics["test/accuracy"] == 1
        assert metrics["out_of_fold/accuracy"] == 1
        trained, start = load_file(run / "model.safetensors"), load_file(weights)
        for name, tensor in start.items():
            if f"backbone.net.{name}" in trained:
                assert torch.equal(trained[f"backbone.net.{name}"], tensor), name
        assert yaml.safe_load((run / "config.yaml").read_text())["tune"] == "auto"

    @pytest.mark.parametrize("command", ["test", "evaluate", "report"])
    def test_commands_on_the_run(self, command: str, fit: Callable[..., Path]) -> None:
        run = fit()
        words = ["--limit", "4", "--explainers", "evidence"] if command == "evaluate" else []
        assert main([command, str(run), *words]) == 0

    def test_validate_says_that_there_are_none(
        self, fit: Callable[..., Path], capsys: Capture
    ) -> None:
        assert main(["validate", str(fit())]) == 2
        assert "no val images" in capsys.readouterr().err

    def test_the_same_seed_gives_the_same_weights(self, fit: Callable[..., Path]) -> None:
        first, second = (fit(run=name) / "model.safetensors" for name in ("a", "b"))
        assert first.read_bytes() == second.read_bytes()

    @pytest.mark.parametrize("pooling", ["average", "maximum", "gated_attention", "jetley"])
    def test_other_poolings(self, pooling: str, fit: Callable[..., Path]) -> None:
        metrics = json.loads((fit("--pooling", pooling) / "metrics.json").read_text())
        assert metrics["test/accuracy"] > 0.8

    @pytest.mark.parametrize(
        ("words", "reason"),
        [
            (["--model.loss", "binary_cross_entropy"], "--model.loss binary_cross_entropy"),
            (["--model.freeze_epochs", "1"], "--model.freeze_epochs 1"),
            (["--pooling", "csra"], "--pooling csra, whose head is not free"),
        ],
    )
    def test_where_there_is_none(
        self, words: list[str], reason: str, fit: Callable[..., Path], capsys: Capture
    ) -> None:
        run = fit(*words, "--epochs", "1")
        assert f"one stage: there is no probe with {reason}" in capsys.readouterr().out
        assert splits_of(run)["val"] > 0


class TestBothStages:
    @pytest.fixture(autouse=True)
    def _the_stage_before_helps(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(stage_module, "gain", lambda *_: (0.1, 0.01))

    def test_what_is_written(self, fit: Callable[..., Path], capsys: Capture) -> None:
        run = fit()
        assert "both stages are used" in capsys.readouterr().out
        config = (run / "config.yaml").read_text()
        assert "model.pooling" in config.splitlines()[0]
        spec = json.loads((run / "model.json").read_text())["pooling"]
        assert spec == yaml.safe_load(config)["model"]["pooling"]
        assert spec["class_path"] == "two_stages"
        assert spec["init_args"]["last"]["class_path"] == "global_local"
        assert json.loads((run / "metrics.json").read_text())["test/accuracy"] == 1

    def test_evidence_adds_up_in_the_loaded_model(self, fit: Callable[..., Path]) -> None:
        model = RunFolder(fit()).load_model().double().eval()
        images = torch.rand(3, 3, 32, 32, dtype=torch.float64)
        with torch.no_grad():
            logits, evidence = model(images), model.evidence(images)
        total = evidence.sum((-2, -1)) + model.head.bias
        assert (total - logits).abs().max() <= 1e-10 * logits.abs().max()

    @pytest.mark.parametrize(
        "words",
        [
            ["test"],
            ["report"],
            ["evaluate", "--limit", "4", "--explainers", "evidence,attention"],
            ["export", "--format", "torch_export"],
            ["predict"],
            ["explain", "--windows"],
        ],
    )
    def test_commands_on_the_run(
        self, words: list[str], fit: Callable[..., Path], image_root: Path, tmp_path: Path
    ) -> None:
        run = fit()
        image = str(next(image_root.rglob("*.png"), None) or next(image_root.rglob("*.jpg")))
        files = [image] if words[0] in ("predict", "explain") else []
        out = ["--out", str(tmp_path / "p.csv")] if words[0] == "predict" else []
        assert main([words[0], str(run), *files, *words[1:], *out]) == 0

    @pytest.mark.parametrize(
        "words",
        [["--pooling", "global_local"], ["--model.stride", "16"], ["--model.min_grid", "2"]],
    )
    def test_what_is_typed_stays(
        self, words: list[str], fit: Callable[..., Path], capsys: Capture
    ) -> None:
        run = fit(*words)
        assert "both stages" not in capsys.readouterr().out
        spec = json.loads((run / "model.json").read_text())["pooling"]
        assert spec["class_path"] == "global_local"

    def test_tuning_goes_on_with_both(self, fit: Callable[..., Path]) -> None:
        run = fit("--tune", "full", "--epochs", "1", "--calibrate", "false")
        last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        assert "model.pooling.earlier.queries" in last
        assert main(["fit", "--run_dir", str(run), "--resume", "--trainer.max_epochs", "2"]) == 0

    def test_a_run_that_was_stopped_after_it_was_recorded(
        self, fit: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its settings name both stages by then; what is chosen is chosen again, alike."""
        expected = fit(run="whole")

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(fit_module.RunFolder, "add_metrics", interrupt)
            run = fit(code=130)
        assert "two_stages" in (run / "config.yaml").read_text()
        assert main(["fit", "--run_dir", str(run), "--resume", "--report", "false"]) == 0
        for name in ("model.safetensors", "model.json", "split.csv"):
            assert (run / name).read_bytes() == (expected / name).read_bytes(), name


class TestTuning:
    def test_full(self, fit: Callable[..., Path], capsys: Capture) -> None:
        """Validation images are kept apart, and judge it; the probe is perfect on them here."""
        run = fit("--tune", "full", "--epochs", "1", "--calibrate", "false")
        printed = capsys.readouterr().out
        assert "tuning    not kept: val/accuracy was never over 1.0000, the probe's" in printed
        assert splits_of(run)["val"] == 4
        probe = fit("--tune", "off", "--epochs", "1", run="probe")
        assert splits_of(probe) == {"train": 24, "val": 0, "test": 8}
        names = {"head.weight", "head.bias"}
        tensors = load_file(run / "model.safetensors")
        assert names < set(tensors)
        last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        assert not torch.equal(last["model.head.weight"], tensors["head.weight"])

    def test_it_is_kept_if_it_is_better(
        self, fit: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: Capture
    ) -> None:
        monkeypatch.setattr(fit_module, "validation_score", lambda cli: 0.25)
        run = fit("--tune", "full", "--epochs", "1", "--calibrate", "false")
        assert "tuning    kept: val/accuracy" in capsys.readouterr().out
        last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        tensors = load_file(run / "model.safetensors")
        assert torch.equal(last["model.head.weight"], tensors["head.weight"])

    def test_batch_norm_keeps_its_statistics(self, fit: Callable[..., Path], weights: Path) -> None:
        run = fit("--tune", "full", "--epochs", "1", "--calibrate", "false")
        last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        start = load_file(weights)
        statistics = [name for name in start if name.endswith("running_mean")]
        assert statistics
        for name in statistics:
            assert torch.equal(last[f"model.backbone.net.{name}"], start[name]), name

    def test_a_typed_length_asks_for_it(self, fit: Callable[..., Path]) -> None:
        run = fit("--epochs", "2")
        rows = (run / "results.csv").read_text().splitlines()
        assert len(rows) == 3

    def test_other_values_are_refused(self, fit: Callable[..., Path], capsys: Capture) -> None:
        run = fit("--tune", "always", code=2)
        assert "tune" in capsys.readouterr().err
        assert not run.exists()


class TestResume:
    def test_a_run_that_was_stopped_in_the_probe(
        self, fit: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: Capture
    ) -> None:
        expected = fit(run="whole")

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(stage_module, "choose", interrupt)
            run = fit(code=130)
        assert f"resume with: vision-attn fit --run_dir {run} --resume" in capsys.readouterr().out
        assert not (run / "model.safetensors").exists()
        assert main(["fit", "--run_dir", str(run), "--resume", "--report", "false"]) == 0
        assert "stopped in its first stage" in capsys.readouterr().out
        for name in ("model.safetensors", "split.csv"):
            assert (run / name).read_bytes() == (expected / name).read_bytes()

    def test_a_run_that_ended_after_the_probe(
        self, fit: Callable[..., Path], capsys: Capture
    ) -> None:
        run = fit()
        before = (run / "model.safetensors").read_bytes()
        assert main(["fit", "--run_dir", str(run), "--resume"]) == 2
        assert "nothing to resume from" in capsys.readouterr().err
        assert (run / "model.safetensors").read_bytes() == before


class TestTimeLimit:
    def test_attention_and_tuning_are_left_out(
        self, fit: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: Capture
    ) -> None:
        monkeypatch.setattr(Deadline, "seconds_left", property(lambda self: -1.0))
        run = fit("--tune", "full", "--max_minutes", "5", "--report", "true")
        printed = capsys.readouterr().out
        assert "training it was stopped by time after 1 of 24 steps (--max_minutes 5)" in printed
        assert "tuning    left out, no time of --max_minutes 5 is left" in printed
        assert "report    left out, no time of --max_minutes 5 is left" in printed
        assert not (run / "results.csv").exists()
        assert json.loads((run / "metrics.json").read_text())["test/accuracy"] == 1
        assert main(["test", str(run)]) == 0

    def test_features_that_take_too_long_are_refused(
        self, fit: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: Capture
    ) -> None:
        monkeypatch.setattr(Deadline, "seconds_left", property(lambda self: -1.0))
        monkeypatch.setattr(pace_module, "BURST", 0.0)
        monkeypatch.setattr(pace_module, "MEASURED", 0.0)
        run = fit("--max_minutes", "5", code=2)
        assert "--max_minutes 5: computing features would take" in capsys.readouterr().err
        assert not run.exists()


class TestJoining:
    def test_a_folder_without_any_other_split(self, tmp_path: Path) -> None:
        for color, name in enumerate(("red", "green")):
            write_images(tmp_path / name, 20, color)
        data = ImageDataModule(ImageFolder(str(tmp_path)), image_size=32)
        test = list(data.splits["test"].names)
        data.join_validation()
        assert list(data.splits["test"].names) == test
        assert len(data.splits["train"]) + len(test) == 40


def test_freeze_statistics() -> None:
    network = Backbone("resnet10t", options=TINY).train()
    before = {k: v.clone() for k, v in network.state_dict().items() if "running" in k}
    freeze_statistics(network)
    network(torch.rand(5, 3, 64, 64))
    for name, tensor in before.items():
        assert torch.equal(network.state_dict()[name], tensor), name
