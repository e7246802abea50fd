"""More untrusted files: oversized tensors, damaged tables, and code named in configurations."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from tests.conftest import TINY_RUN, fit_from_file
from tests.test_untrusted import RAN, refused
from vision_attn.cli.main import main
from vision_attn.core.errors import UserError
from vision_attn.export.hub_model import HubClassifier

Capture = pytest.CaptureFixture[str]
Trained = tuple[Path, Path]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def huge() -> torch.Tensor:
    """A tensor of 4 TiB that takes four bytes in a file: one value, expanded."""
    return torch.zeros(1).expand(2**20, 2**20)


def oversized(content: dict[str, Any]) -> None:
    content["state_dict"]["model.head.weight"] = huge()


def oversized_optimizer(content: dict[str, Any]) -> None:
    state = content["optimizer_states"][0]["state"]
    state[next(iter(state))]["exp_avg"] = huge()


def misshapen(content: dict[str, Any]) -> None:
    content["state_dict"]["model.head.weight"] = torch.zeros(3, 5)


def renamed(content: dict[str, Any]) -> None:
    content["state_dict"]["../../up"] = content["state_dict"].pop("model.head.weight")


def nan_weights(content: dict[str, Any]) -> None:
    content["state_dict"]["model.head.weight"][:] = float("nan")


def without_parts(content: dict[str, Any]) -> None:
    content.pop("loops")


def another_optimizer(content: dict[str, Any]) -> None:
    content["optimizer_states"][0]["param_groups"] = []


CHANGES = [
    oversized, oversized_optimizer, misshapen, renamed, nan_weights, without_parts,
    another_optimizer,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_resuming_from_a_damaged_checkpoint_is_refused(
    change: Callable[[dict[str, Any]], None], run: Path, capsys: Capture
) -> None:
    path = run / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)
    refused(["fit", "--run_dir", str(run), "--resume"], capsys, "last.ckpt")


def compressed(path: Path) -> None:
    """A compressed checkpoint, which is far larger in memory than on disk."""
    torch.save({"state_dict": {"head.weight": torch.zeros(2**22)}}, "plain.ckpt")
    with (
        zipfile.ZipFile("plain.ckpt") as plain,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for part in plain.namelist():
            packed.writestr(part, plain.read(part))
    assert path.stat().st_size < 2**20


def expanded(path: Path) -> None:
    torch.save({"state_dict": {"head.weight": huge()}}, path)


@pytest.mark.parametrize("write", [compressed, expanded])
def test_weights_that_expand_in_memory_are_refused(
    write: Callable[[Path], None], run: Path, trained: Trained, capsys: Capture
) -> None:
    write(Path("weights.ckpt"))
    words = ["fit", "--data", str(trained[1]), "--run_dir", "new", *TINY_RUN]
    refused([*words, "--init_from", "weights.ckpt"], capsys, "weights.ckpt")
    write(run / "checkpoints" / "last.ckpt")
    refused(["fit", "--run_dir", str(run), "--resume"], capsys, "last.ckpt")


@pytest.mark.parametrize("name", ["head.weight", "../../up"])
def test_weights_with_other_shapes_are_refused(
    name: str, run: Path, trained: Trained, capsys: Capture
) -> None:
    tensors = load_file(run / "model.safetensors")
    tensors.pop("head.weight")
    save_file({**tensors, name: torch.zeros(3, 5)}, run / "model.safetensors")
    refused(["predict", str(run), str(trained[1] / "test")], capsys, "does not fit model.json")


COMMANDS = {
    "evaluate": [],
    "report": [],
    "export": [],
    "explain": ["IMAGES"],
    "init_from": [],
    "resume": [],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_limits_the_model_size(
    command: str, run: Path, trained: Trained, capsys: Capture
) -> None:
    """The model has more than half a billion parameters; no command builds it."""
    wide = {"channels": [8, 8, 16, 8192]}
    spec = json.loads((run / "model.json").read_text())
    (run / "model.json").write_text(json.dumps(spec | {"backbone_options": wide}))
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["model"]["backbone_options"] = wide
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    words = [command, str(run), *(str(trained[1] / "test") for _ in COMMANDS[command])]
    if command == "init_from":
        words = ["fit", "--data", str(trained[1]), "--run_dir", "new", "--init_from", str(run)]
    if command == "resume":
        words = ["fit", "--run_dir", str(run), "--resume"]
    refused(words, capsys, "is refused: it has a tensor of 603,979,776 values")


def test_an_oversized_model_from_the_hub_is_refused(run: Path) -> None:
    spec = json.loads((run / "model.json").read_text())
    wide = {"backbone_options": {"channels": [8, 8, 16, 8192]}}
    (run / "model.json").write_text(json.dumps(spec | wide))
    with pytest.raises(UserError, match="is refused: it has a tensor of"):
        HubClassifier.from_pretrained(str(run))


@pytest.mark.parametrize("name", ["image_size", "num_workers", "batch_size"])
def test_settings_out_of_range_are_refused(name: str, run: Path, capsys: Capture) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["data"][name] = 10**9
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    refused(["fit", "--run_dir", str(run), "--resume"], capsys, f"--data.{name} must be between")


def test_reader_processes_of_an_untrusted_run_are_not_started(run: Path, capsys: Capture) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["data"] |= {"num_workers": 10**6, "memory_limit": 0}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["test", str(run)]) == 0


CALLBACKS = {
    "a trusted class with an untrusted function": {
        "class_path": "lightning.pytorch.callbacks.LambdaCallback",
        "init_args": {"on_fit_start": "untrusted.run"},
    },
    "an untrusted class": {"class_path": "untrusted.Callback"},
}


@pytest.mark.parametrize("callback", CALLBACKS.values(), ids=CALLBACKS)
def test_untrusted_code_in_a_config_is_refused(
    callback: dict, run: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path.cwd()))  # as `python -m vision_attn` has it
    Path("untrusted.py").write_text(f"open({RAN!r}, 'w')\ndef run(*_): pass\n")
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["trainer"]["callbacks"] = [callback]
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    refused(["fit", "--run_dir", str(run), "--resume"], capsys, f"--trust {callback['class_path']}")
    words = fit_from_file({"trainer": {"callbacks": [callback]}}, run)
    refused(words, capsys, f"--trust {callback['class_path']}")


TABLES = {
    "nothing": b"",
    "bytes": b"\x00\xff\xfe",
    "not text": b"path,label\n\xff\xfe,a\n",
    "a null byte in a name": b"path,label\na\x00b.png,a\nc.png,b\n",
    "a very long name": b"path,label\n" + b"a" * 5000 + b".png,a\nb.png,b\n",
    "an unclosed quote": b'path,label\n"' + b"a" * 200_000,
    "a hundred thousand columns": b"path,label," + b"x," * 100_000 + b"\na.png,a\n",
    "outside by ..": b"path,label\n../secret.png,a\n../secret.png,b\n",
    "outside by an absolute path": b"path,label\n/etc/passwd,a\n/etc/passwd,b\n",
    "outside by a symlink": b"path,label\nlink/secret.png,a\nlink/secret.png,b\n",
    "a device": b"path,label\nzero,a\nzero,b\n",
    "an unknown split": b"path,label,split\nimage.png,a,root\n",
}


@pytest.mark.parametrize("content", TABLES.values(), ids=TABLES)
def test_damaged_tables_are_refused(
    content: bytes, trained: Trained, tmp_path: Path, capsys: Capture
) -> None:
    """A table called split.csv is read like any other table."""
    inside = tmp_path / "inside"
    inside.mkdir()
    image = next((trained[1] / "test").rglob("*.png"))
    shutil.copy(image, tmp_path / "secret.png")
    shutil.copy(image, inside / "image.png")
    (inside / "link").symlink_to(tmp_path)
    (inside / "zero").symlink_to("/dev/zero")
    (inside / "split.csv").write_bytes(content)
    words = ["fit", "--data", str(inside / "split.csv"), "--run_dir", "new", *TINY_RUN]
    refused(words, capsys, "split.csv")


BOXES = {
    "bytes": b"file,xmin,ymin,xmax,ymax\n\xff\xfe\n",
    "text for a number": b"file,xmin,ymin,xmax,ymax\na.png,1,2,x,4\n",
    "too few columns": b"xmin,ymin,xmax,ymax,file\n1,2,3,4\n",
    "an unclosed quote": b'file,xmin,ymin,xmax,ymax\n"' + b"a" * 200_000,
    "a null byte in a name": b"file,xmin,ymin,xmax,ymax\na\x00.png,1,2,3,4\n",
}


@pytest.mark.parametrize("content", BOXES.values(), ids=BOXES)
def test_damaged_boxes_are_refused(
    content: bytes, run: Path, trained: Trained, capsys: Capture
) -> None:
    Path("boxes.csv").write_bytes(content)
    words = ["explain", str(run), str(trained[1] / "test"), "--truth", "boxes.csv"]
    refused(words, capsys, "boxes.csv")


PARTS = {
    ".csv": {
        "other columns": "file,predicted\n",
        "null bytes": "HEAD\x00\x00\n",
        "an unclosed quote": 'HEAD"' + "a" * 200_000 + "\n",
        "another file": "HEAD../../etc/passwd,red,1,,1,0\n",
        "another model": "HEADFILE,red,0.5,,0.5,0.5\n",
        "an unknown class": "HEADFILE,nobody,0.5,,0.5,0.5\n",
    },
    ".jsonl": {
        "a list for a row": "[]\n",
        "deeply nested": "[" * 100_000 + "\n",
        "lists": '{"file": ["a"], "predicted": [], "probability": 1, "error": null}\n',
        "a list for a class": '{"file": "FILE", "predicted": [], "probability": 1, "error": 0}\n',
        "text for a number": '{"file": "FILE", "probability": "x"}\n',
    },
}


@pytest.mark.parametrize(
    ("ending", "text"),
    [(ending, text) for ending, texts in PARTS.items() for text in texts.values()],
    ids=[f"{ending} {name}" for ending, texts in PARTS.items() for name in texts],
)
def test_resuming_from_damaged_predictions_is_refused(
    ending: str, text: str, run: Path, trained: Trained, capsys: Capture
) -> None:
    file = sorted((trained[1] / "test").rglob("*.png"))[0]
    head = "file,predicted,probability,error,p_green,p_red\n"
    part = Path(f"out{ending}.part")
    part.write_text(text.replace("HEAD", head).replace("FILE", str(file)))
    words = ["predict", str(run), str(file), "--out", f"out{ending}", "--resume"]
    refused(words, capsys, f"out{ending}.part")
    assert not Path(f"out{ending}").exists()


def test_resuming_from_a_symlink_is_refused(run: Path, trained: Trained, capsys: Capture) -> None:
    Path("mine").write_text("")
    Path("out.csv.part").symlink_to("mine")
    words = ["predict", str(run), str(trained[1] / "test"), "--out", "out.csv", "--resume"]
    refused(words, capsys, "out.csv.part")
    assert Path("mine").read_text() == ""


REPORTED = {
    "logs/csv/version_0/metrics.csv": "epoch,val/accuracy\nx,y\n",
    "evaluations/a/evaluation.json": "[" * 100_000,
}


@pytest.mark.parametrize("name", REPORTED)
def test_a_report_mentions_damaged_files(name: str, run: Path, capsys: Capture) -> None:
    (run / name).parent.mkdir(parents=True, exist_ok=True)
    (run / name).write_text(REPORTED[name])
    capsys.readouterr()
    code = main(["report", str(run)])
    output = capsys.readouterr().err + (run / "report.html").read_text()
    assert "is damaged" in output
    assert "Traceback" not in output
    assert code == (2 if name.startswith("logs") else 0)
