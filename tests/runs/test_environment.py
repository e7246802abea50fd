"""The record of the environment: git is asked for the commit, and starts no other program."""

import shutil
import subprocess
from pathlib import Path

import pytest

from vision_attn.runs.environment import git_state


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-C", str(folder), *words], check=True, timeout=30)


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_a_file_monitor_of_the_folder_is_not_started(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    who = ["-c", "user.name=a", "-c", "user.email=a@example.invalid"]
    git(tmp_path, *who, "commit", "-q", "--allow-empty", "-m", "start")
    monitor = tmp_path / "monitor.sh"
    monitor.write_text(f"#!/bin/sh\ntouch '{tmp_path}/ran'\n")
    monitor.chmod(0o755)
    git(tmp_path, "config", "core.fsmonitor", str(monitor))
    state = git_state(tmp_path)
    assert state is not None
    assert len(state["commit"]) == 40
    assert not (tmp_path / "ran").exists()
