"""`vision-attn fit` on tiny images: train, resume, fine-tune."""

import json
import os
import shutil
import signal
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
import yaml
from torch.testing import assert_close

from tests.conftest import TINY_RUN, write_images
from vision_attn.cli.main import main
from vision_attn.runs.folder import RunFolder, read_weights


class TestFit:
    def test_it_writes_a_complete_run_folder(self, trained: tuple[Path, Path]) -> None:
        run, images = trained
        names = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
        assert {
            "config.yaml", "model.json", "model.safetensors", "metrics.json",
            "results.csv", "checkpoints/last.ckpt", "logs/csv/version_0/metrics.csv",
        } <= names  # fmt: skip
        assert any(name.startswith("logs/tensorboard/") for name in names)
        metrics = json.loads((run / "metrics.json").read_text())
        assert metrics["test/accuracy"] == 1
        config = yaml.safe_load((run / "config.yaml").read_text())
        assert config["model"]["removed_strides"] == 2
        assert config["trainer"]["max_epochs"] == 6
        assert config["data"]["source"]["init_args"]["root"] == str(images)

    def test_checkpoints_have_no_pickled_code(self, trained: tuple[Path, Path]) -> None:
        content = torch.load(trained[0] / "checkpoints" / "last.ckpt", weights_only=True)
        assert "hyper_parameters" not in content

    def test_training_without_validation(
        self, image_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ["fit", "--data", str(image_root), "--run_dir", str(tmp_path / "run"), *TINY_RUN]
        words += ["--trainer.max_epochs", "1", "--trainer.limit_val_batches", "0"]
        assert main(words) == 0
        lines = capsys.readouterr().out.splitlines()
        assert not any(line.startswith("val  ") for line in lines)
        assert any(line.startswith("test  ") for line in lines)
        assert main(["test", str(tmp_path / "run")]) == 0

    def test_it_never_overwrites_a_run(
        self, trained: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
    ) -> None:
        run, images = trained
        before = (run / "model.safetensors").read_bytes()
        assert main(["fit", "--data", str(images), "--run_dir", str(run), *TINY_RUN]) == 2
        assert "already contains a run; add --resume" in capsys.readouterr().err
        assert (run / "model.safetensors").read_bytes() == before

    def test_the_same_seed_gives_the_same_weights(self, image_root: Path, tmp_path: Path) -> None:
        words = ["fit", "--data", str(image_root), *TINY_RUN, "--trainer.max_epochs", "1"]
        for name in ("a", "b"):
            assert main([*words, "--run_dir", str(tmp_path / name)]) == 0
        assert main([*words, "--run_dir", str(tmp_path / "c"), "--seed_everything", "5"]) == 0
        a, b, c = (read_weights(tmp_path / name / "model.safetensors") for name in "abc")
        assert all(torch.equal(a[key], b[key]) for key in a)
        assert not torch.equal(a["head.weight"], c["head.weight"])

    def test_an_unknown_class_in_val_writes_nothing(
        self, image_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_images(image_root / "val" / "gren", 2, 0)
        run = tmp_path / "run"
        assert main(["fit", "--data", str(image_root), "--run_dir", str(run), *TINY_RUN]) == 2
        assert "'gren'" in capsys.readouterr().err
        assert not run.exists()

    def test_runs_latest_is_the_newest(
        self, image_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        words = ["fit", "--data", str(image_root), *TINY_RUN, "--trainer.max_epochs", "1"]
        assert main(words) == 0
        latest = Path("runs/latest")
        assert latest.is_symlink()
        run = latest.resolve()
        assert run.name.endswith("-images")
        assert main(["fit", "--resume", "--trainer.max_epochs", "2"]) == 0  # resumes runs/latest
        assert latest.resolve() == run
        assert RunFolder(latest).load_model() is not None

    def test_a_run_without_a_checkpoint_can_be_started_again(
        self, image_root: Path, tmp_path: Path
    ) -> None:
        run = tmp_path / "run"
        run.mkdir()
        (run / "config.yaml").write_text("model: {}")
        words = ["fit", "--data", str(image_root), "--run_dir", str(run), *TINY_RUN]
        assert main([*words, "--trainer.max_epochs", "1"]) == 0

    def test_a_time_limit_stops_training(self, image_root: Path, tmp_path: Path) -> None:
        run = tmp_path / "run"
        words = ["fit", "--data", str(image_root), "--run_dir", str(run), *TINY_RUN]
        assert main([*words, "--trainer.max_time", "00:00:00:01"]) == 0
        assert yaml.safe_load((run / "config.yaml").read_text())["trainer"]["max_epochs"] == 60

    def test_without_validation_the_last_weights_are_kept(
        self, image_root: Path, tmp_path: Path
    ) -> None:
        run = tmp_path / "run"
        words = ["fit", "--data", str(image_root), "--run_dir", str(run), *TINY_RUN]
        words += ["--trainer.max_epochs", "1", "--trainer.check_val_every_n_epoch", "2"]
        assert main(words) == 0
        assert RunFolder(run).load_model() is not None


class StopAfterTwo(pl.Callback):
    """Presses Ctrl-C when the third epoch starts."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == 2 and trainer.max_epochs == 4:
            os.kill(os.getpid(), signal.SIGINT)


STOP = "tests.cli.test_fit.StopAfterTwo"


class TestResume:
    @pytest.fixture
    def stopped(self, image_root: Path, tmp_path: Path) -> Path:
        run = tmp_path / "run"
        words = ["fit", "--data", str(image_root), "--run_dir", str(run), *TINY_RUN]
        handler = signal.getsignal(signal.SIGINT)
        try:
            code = main([*words, "--trainer.max_epochs", "4", "--trainer.callbacks+", STOP])
        finally:
            signal.signal(signal.SIGINT, handler)  # Lightning leaves it ignored
        assert code == 130
        return run

    def test_it_resumes_where_it_stopped(
        self, stopped: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert not (stopped / "metrics.json").exists()
        before = torch.load(stopped / "checkpoints" / "last.ckpt", weights_only=True)
        assert before["epoch"] == 1
        words = ["fit", "--run_dir", str(stopped), "--resume"]
        assert main(words) == 2
        assert f"--trust {STOP}" in capsys.readouterr().err
        assert main([*words, "--trust", STOP, "--trainer.max_epochs", "5"]) == 0
        output = capsys.readouterr().out
        assert "epoch 1/5" not in output
        assert "epoch 3/5" in output
        assert "epoch 5/5" in output
        after = torch.load(stopped / "checkpoints" / "last.ckpt", weights_only=True)
        assert after["epoch"] == 4
        assert (stopped / "metrics.json").exists()

    def test_it_refuses_to_change_a_fixed_setting(
        self, stopped: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ["fit", "--run_dir", str(stopped), "--resume", "--model.optimizer.lr", "0.1"]
        assert main(words) == 2
        assert "--model.optimizer.lr cannot change" in capsys.readouterr().err


class TestFineTuning:
    def test_from_a_run_with_other_classes(
        self, trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for color, name in enumerate(("crimson", "emerald", "navy")):
            write_images(tmp_path / "images" / name, 10, color)
        run = tmp_path / "tuned"
        words = ["fit", "--data", str(tmp_path / "images"), "--init_from", str(trained[0])]
        words += ["--run_dir", str(run), "--model.freeze_epochs", "2", "--trainer.max_epochs", "2"]
        assert main(words) == 0
        output = capsys.readouterr().out
        assert "new: head.bias, head.weight" in output
        source, tuned = (read_weights(RunFolder(folder).weights) for folder in (trained[0], run))
        frozen = [key for key in source if key.startswith("backbone.")]
        assert len(frozen) > 10
        for key in frozen:  # batch statistics too
            assert_close(tuned[key], source[key], rtol=0, atol=0)
        moved = (
            (tuned["pooling.global_pooling.queries"] - source["pooling.global_pooling.queries"])
            .abs()
            .max()
        )
        assert moved > 0
        assert (
            RunFolder(run).load_spec().removed_strides
            == RunFolder(trained[0]).load_spec().removed_strides
        )

    def test_command_line_options_override_the_run(
        self, trained: tuple[Path, Path], tmp_path: Path
    ) -> None:
        run = tmp_path / "tuned"
        words = ["fit", "--data", str(trained[1]), "--init_from", str(trained[0])]
        words += ["--run_dir", str(run), "--model.pooling", "average", "--data.image_size", "40"]
        assert main([*words, "--trainer.max_epochs", "1"]) == 0
        spec = RunFolder(run).load_spec()
        assert spec.pooling["class_path"] == "average"
        assert spec.image_size == 40

    def test_a_finer_grid_than_that_of_the_run(
        self, trained: tuple[Path, Path], tmp_path: Path
    ) -> None:
        run = tmp_path / "tuned"
        words = ["fit", "--data", str(trained[1]), "--init_from", str(trained[0])]
        words += ["--run_dir", str(run), "--model.min_grid", "8", "--trainer.max_epochs", "1"]
        assert main(words) == 0
        assert RunFolder(run).load_spec().removed_strides == 3

    def test_an_untrusted_run_imports_nothing(
        self, trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        """Wherever an untrusted run can name a class, its module is not even imported."""
        (tmp_path / "untrusted.py").write_text("raise SystemExit('untrusted code ran')")
        monkeypatch.syspath_prepend(tmp_path)
        for key, value in (
            (("model", "pooling"), {"class_path": "untrusted.X"}),
            (("model", "optimizer"), "untrusted.X"),
            (("trainer", "logger"), "untrusted.X"),
            (("trainer", "callbacks"), [{"class_path": "untrusted.X"}]),
            (("data", "source"), {"class_path": "untrusted.X"}),
        ):
            run = tmp_path / key[1]
            shutil.copytree(trained[0], run)
            config = yaml.safe_load((run / "config.yaml").read_text())
            config[key[0]][key[1]] = value
            (run / "config.yaml").write_text(yaml.safe_dump(config))
            for words in (["fit", "--run_dir", str(run), "--resume"], ["test", str(run)]):
                assert main(words) == 2
                assert "--trust untrusted.X" in capsys.readouterr().err
        spec = json.loads((run / "model.json").read_text())
        spec["pooling"] = {"class_path": "untrusted.X", "init_args": {}}
        (run / "model.json").write_text(json.dumps(spec))
        words = ["fit", "--data", str(trained[1]), "--init_from", str(run)]
        assert main([*words, "--run_dir", str(tmp_path / "new")]) == 2
        assert "--trust untrusted.X" in capsys.readouterr().err
