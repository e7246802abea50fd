"""`--max_minutes`: fewer epochs or steps, a finished schedule, a complete run that resumes.

The clock of these tests moves 10 s per training batch and 4 s per validation batch.
"""

import csv
import json
from pathlib import Path

import pytest

from tests.clock import CLOCK
from tests.conftest import TINY_RUN
from vision_attn.cli import fit as fit_command
from vision_attn.cli.main import main
from vision_attn.core.errors import UserError
from vision_attn.training import deadline as deadline_module
from vision_attn.training.callbacks import throughput as throughput_module
from vision_attn.training.deadline import Deadline, OutOfTime

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CLOCK, "now", 0.0)
    for module in (fit_command, deadline_module):
        monkeypatch.setattr(module, "time", CLOCK)
    monkeypatch.setattr(throughput_module, "time", CLOCK)


def train(image_root: Path, run: Path, *words: str, callback: str = "Slow") -> int:
    given = ["fit", "--data", str(image_root), "--run_dir", str(run), *TINY_RUN]
    given += ["--epochs", "20", "--data.batch_size", "4", "--overlays", "false"]
    given += ["--trainer.callbacks+", f"tests.clock.{callback}"]
    return main([*given, *words])


def epochs_of(run: Path) -> list[dict[str, str]]:
    with (run / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


class TestEpochs:
    def test_as_many_as_fit(self, image_root: Path, tmp_path: Path, capsys: Capture) -> None:
        """Measured after 3 of 5 steps, at 34 s: 266 s are left, of which 18 are for the scores.

        These are 2 and 1 s for each of 2 x 4 validation and 8 test images. (266 - 18) / 1.1 = 225
        s hold the 24 s of the first epoch's rest and 3 epochs of 54 s, but not 4.
        """
        run = tmp_path / "run"
        assert train(image_root, run, "--max_minutes", "5") == 0
        printed = capsys.readouterr().out
        assert "training takes about 18:00 (10 s per step, 4 s per validation)" in printed
        assert "planned: 4 of 20 epochs, in which the learning rate falls to 0" in printed
        assert "stopped   by --max_minutes 5 after 4 of 20 epochs (20 of 100 steps)" in printed
        assert CLOCK.now == 4 + 4 * 54 + 4  # sanity check, epochs, final score
        epochs = epochs_of(run)
        assert len(epochs) == 4
        assert float(epochs[-1]["lr"]) == 0
        assert float(epochs[-2]["lr"]) > 0
        assert "test/accuracy" in json.loads((run / "metrics.json").read_text())
        assert main(["test", str(run), "--trust", "tests.clock.Slow"]) == 0

    def test_the_run_goes_on(self, image_root: Path, tmp_path: Path, capsys: Capture) -> None:
        run = tmp_path / "run"
        assert train(image_root, run, "--max_minutes", "5") == 0
        resume = ["fit", "--run_dir", str(run), "--resume", "--report", "false"]
        resume += ["--trust", "tests.clock.Slow"]
        capsys.readouterr()
        assert main([*resume, "--max_minutes", "4"]) == 0
        assert "after 7 of 20 epochs (35 of 100 steps)" in capsys.readouterr().out
        assert main(resume) == 0
        printed = capsys.readouterr().out
        assert "stopped" not in printed
        assert "epoch 8/20" in printed
        assert len(epochs_of(run)) == 20

    def test_nothing_changes_if_there_is_time(
        self, image_root: Path, tmp_path: Path, capsys: Capture
    ) -> None:
        weights = []
        for name, words in (("plain", ()), ("limited", ("--max_minutes", "60"))):
            assert train(image_root, tmp_path / name, "--epochs", "3", *words) == 0
            weights.append((tmp_path / name / "model.safetensors").read_bytes())
        assert weights[0] == weights[1]
        printed = capsys.readouterr().out
        assert "planned" not in printed
        assert "stopped" not in printed

    def test_a_machine_that_becomes_slower(
        self, image_root: Path, tmp_path: Path, capsys: Capture
    ) -> None:
        run = tmp_path / "run"
        assert train(image_root, run, "--max_minutes", "5", callback="Slower") == 0
        printed = capsys.readouterr().out
        assert "planned: 4 of 20 epochs" in printed
        assert "stopped   by --max_minutes 5 after 1 of 20 epochs (7 of 100 steps)" in printed
        assert CLOCK.now <= 300
        assert (run / "metrics.json").exists()


class TestSteps:
    def test_less_than_an_epoch(self, image_root: Path, tmp_path: Path, capsys: Capture) -> None:
        """At 34 s (72 - 34 - 18) / 1.1 = 18 s are left: 10 for a step, 4 for its validation."""
        run = tmp_path / "run"
        assert train(image_root, run, "--max_minutes", "1.2") == 0
        printed = capsys.readouterr().out
        assert "planned: 4 of 100 steps, in which the learning rate falls to 0" in printed
        assert "stopped   by --max_minutes 1.2 after 0 of 20 epochs (4 of 100 steps)" in printed
        assert CLOCK.now == 4 + 40 + 4 + 4
        assert (run / "model.safetensors").exists()
        resume = ["fit", "--run_dir", str(run), "--resume", "--report", "false"]
        assert main([*resume, "--trust", "tests.clock.Slow"]) == 0
        assert "epoch 2/20" in capsys.readouterr().out
        assert len(epochs_of(run)) == 20

    def test_no_time_at_all(self, image_root: Path, tmp_path: Path, capsys: Capture) -> None:
        run = tmp_path / "run"
        assert train(image_root, run, "--max_minutes", "0.001") == 0
        assert "after 0 of 20 epochs (1 of 100 steps)" in capsys.readouterr().out
        assert (run / "metrics.json").exists()


@pytest.mark.parametrize("minutes", ["0", "-3", "nan", "soon"])
def test_what_is_no_time_is_refused(
    minutes: str, image_root: Path, tmp_path: Path, capsys: Capture
) -> None:
    run = tmp_path / "run"
    assert train(image_root, run, "--max_minutes", minutes) == 2
    assert f"--max_minutes{': invalid' if minutes == 'soon' else ''} " in capsys.readouterr().err
    assert not run.exists()


def test_a_smallest_length_is_refused(image_root: Path, tmp_path: Path, capsys: Capture) -> None:
    run = tmp_path / "run"
    assert train(image_root, run, "--max_minutes", "5", "--trainer.min_epochs", "3") == 2
    assert "--trainer.min_epochs 3 contradicts --max_minutes" in capsys.readouterr().err
    assert not run.exists()


class TestDeadline:
    def test_the_closing_is_kept_free(self) -> None:
        deadline = Deadline(2)
        deadline.closing = 30
        CLOCK.now = 50
        assert deadline.seconds_left == 40

    def test_the_time_before_it_counts(self) -> None:
        CLOCK.now = 100
        assert Deadline(2).seconds_left == 120
        assert Deadline(2, started=70).seconds_left == 90

    def test_stages_that_do_not_fit(self) -> None:
        check = Deadline(2).require("computing features")
        check(120)
        with pytest.raises(UserError, match="computing features would take 2:01 more, and 2:00"):
            check(121)

    def test_work_that_can_be_left_out(self) -> None:
        done: list[int] = []
        advance = Deadline(1).checked(lambda: done.append(1))
        CLOCK.now = 60
        advance()
        CLOCK.now = 61
        with pytest.raises(OutOfTime):
            advance()
        assert len(done) == 2
