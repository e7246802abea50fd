"""Processes that a launcher started: torchrun, and srun's variables without SLURM."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from torch.testing import assert_close

from tests.conftest import TINY_RUN
from vision_attn.core.errors import UserError
from vision_attn.data.sampler import EpochSampler, Share
from vision_attn.runs.folder import RunFolder
from vision_attn.runs.weights import read_weights
from vision_attn.training.processes.launcher import Launch, check_devices, launched

FIT = [
    *TINY_RUN, "--overlays", "false", "--trainer.accelerator", "cpu",
    "--trainer.precision", "32-true", "--data.flip", "false", "--data.shift", "0",
    "--data.zoom", "1", "--data.color_jitter", "0", "--model.frozen_batch_norm", "true",
    "--model.optimizer", "SGD", "--lr", "0.05",
]  # fmt: skip
COMMAND = [sys.executable, "-m", "vision_attn"]


def torchrun(count: int, words: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command in processes that torchrun starts."""
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return subprocess.run(
        [*run, f"--nproc_per_node={count}", "-m", "vision_attn", *words],
        capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip


def start_tasks(count: int, words: list[str]) -> list[subprocess.Popen[str]]:
    """Start a command as srun does, with its environment variables."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "SLURM_JOB_ID": "7", "SLURM_NTASKS": str(count), "SLURM_NTASKS_PER_NODE": str(count),
        "SLURM_NNODES": "1", "SLURM_NODEID": "0", "SLURM_NODELIST": "127.0.0.1",
        "SLURM_JOB_NAME": "fit", "MASTER_PORT": str(port),
    }  # fmt: skip
    return [
        subprocess.Popen(
            [*COMMAND, *words],
            env=os.environ | shared | {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(count)
    ]  # fmt: skip


def test_the_number_of_processes_changes_neither_weights_nor_scores(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    _, images = trained
    runs = {count: tmp_path / f"run{count}" for count in (1, 3)}  # 2: the test below
    for count, run in runs.items():
        words = ["fit", "--data", str(images), "--run_dir", str(run), *FIT, "--epochs", "1"]
        done = torchrun(count, [*words, "--data.batch_size", str(6 // count)])
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.count("epoch 1/1") == 1  # only rank zero prints
    alone, *others = (read_weights(RunFolder(run).weights) for run in runs.values())
    first, *scores = (json.loads((run / "metrics.json").read_text()) for run in runs.values())
    for weights, found in zip(others, scores, strict=True):
        assert_close(weights, alone, rtol=0, atol=1e-6)
        assert found == pytest.approx(first, abs=1e-6)


def test_a_killed_process_ends_all_and_the_run_resumes(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = ["fit", "--data", str(trained[1]), "--run_dir", str(run), *FIT]
    tasks = start_tasks(2, [*words, "--epochs", "500"])
    end = time.monotonic() + 90
    while not (run / "checkpoints" / "last.ckpt").exists() and time.monotonic() < end:
        time.sleep(0.2)
    tasks[1].send_signal(signal.SIGKILL)
    output, error = tasks[0].communicate(timeout=60)
    assert tasks[0].returncode == 2, error
    assert error.count("vision-attn: ") == 1
    assert "Traceback" not in error
    tasks[1].communicate()
    resumed = ["fit", "--run_dir", str(run), "--resume", "--epochs", "40"]
    done = start_tasks(2, resumed)
    output = [task.communicate(timeout=120)[0] for task in done]
    assert [task.returncode for task in done] == [0, 0]
    assert "epoch 40/40" in output[0]
    assert output[1] == ""


def test_all_processes_together_take_what_one_would_take() -> None:
    whole = list(EpochSampler(13, seed=3))
    parts = [list(EpochSampler(13, seed=3, share=Share(rank, 3))) for rank in range(3)]
    assert [image for turn in zip(*parts, strict=True) for image in turn] == whole[:12]


def test_contradictions_are_refused() -> None:
    with pytest.raises(UserError, match="--ntasks-per-node"):
        launched({"SLURM_PROCID": "0", "SLURM_NTASKS": "2"})
    with pytest.raises(UserError, match="RANK is 'one'"):
        launched({"RANK": "one", "WORLD_SIZE": "2"})
    with pytest.raises(UserError, match="cannot be"):
        launched({"RANK": "2", "WORLD_SIZE": "2"})
    with pytest.raises(UserError, match="num_nodes 4: srun started 2 machines"):
        check_devices(Launch("srun", 0, 4, 2), {"num_nodes": 4}, accelerated=False)
    with pytest.raises(UserError, match=r"--devices 9999 would start 9999 processes"):
        check_devices(None, {"devices": "9999"}, accelerated=False)
    assert launched({"SLURM_PROCID": "0", "SLURM_JOB_NAME": "interactive"}) is None
