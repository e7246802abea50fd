"""The command line: fast help, suggestions for typos, and errors without tracebacks."""

import subprocess
import sys
import time

import pytest

from vision_attn.cli.main import COMMANDS, main
from vision_attn.core.version import __version__


def test_help_does_not_import_torch() -> None:
    code = (
        "import sys; from vision_attn.cli.main import main; main(['--help']);"
        "heavy = {'torch', 'timm', 'lightning', 'captum', 'numpy'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(command in done.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_is_fast(command: str) -> None:
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "vision_attn", command, "--help"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert f"vision-attn {command}" in done.stdout
    assert time.monotonic() - started < 2  # importing torch alone takes longer


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert __version__ in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fti"], "unknown command 'fti'. Did you mean 'fit'"),
        (["fit"], "name the images: --data DIR"),
        (["fit", "--data", "shapse"], "Did you mean 'shapes'"),
        (["fit", "--config", "shape"], "Did you mean 'shapes'"),
        (["fit", "--data", "shapes", "--model.poling", "average"], "'--model.pooling'"),
        (["fit", "--data", "shapes", "--model.pooling", "averge"], "Did you mean 'average'"),
        (["fit", "--data", "shapes", "--model.backbone", "resnet81"], "Did you mean 'resnet18'"),
        (["fit", "--data", "shapes", "--trainer.max_epoch", "3"], "'--trainer.max_epochs'"),
        (["fit", "--data", "shapes", "--trainer.max_epochs", "three"], "must be of type int"),
        (["fit", "--data", "shapes", "--model.pooling.haeds", "3"], "haeds"),
        (["fit", "--data", "shapes", "--init_from", "nowhere"], "no run or weights file nowhere"),
        (["fit", "--run_dir", "nowhere", "--resume"], "nothing to resume from"),
        (["explain", "nowhere", "x.png"], "there is no run nowhere"),
        (["explain", "nowhere"], "PATH"),
        (["explain", "nowhere", "x.png", "--explaners", "evidence"], "'--explainers'"),
        (["explain", "nowhere"], "explain needs PATH (see vision-attn explain --help)"),
        (["fit", "--dat", "photos"], "there is no option --dat. Did you mean --data?"),
        (["test", "nowhere"], "there is no run nowhere"),
    ],
)  # fmt: skip
def test_errors_are_one_or_two_lines(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("vision-attn: ")
    assert len(error.strip().splitlines()) <= 2
    assert list(tmp_path.iterdir()) == []
