"""Untrusted models, checkpoints and images: refused in a line or two, and no code in them runs."""

import json
import os
import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.conftest import TINY_RUN
from vision_attn.cli.main import main

RAN = "hostile-code-ran"
Capture = pytest.CaptureFixture[str]
Trained = tuple[Path, Path]


class Hostile:
    """Unpickling this object runs a command."""

    def __reduce__(self) -> tuple:
        return (os.system, (f"touch {RAN}",))


class Payload(dict):
    """Hyper-parameters in a Lightning checkpoint; unpickling them runs a command."""

    def __reduce__(self) -> tuple:
        return (os.system, (f"touch {RAN}",))


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refused(words: list[str], capsys: Capture, message: str = "") -> None:
    """Check that a command fails with exit code 2 and a short message, and runs no code."""
    capsys.readouterr()
    assert main(words) == 2
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("vision-attn:")]
    assert len(lines) == 1
    assert len(error.splitlines()) <= 3
    assert message in error
    assert "Traceback" not in error
    assert not Path(RAN).exists()


def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps(Hostile()))


def in_a_checkpoint(path: Path) -> None:
    torch.save({"state_dict": {"head.weight": torch.zeros(2, 2)}, "loops": Hostile()}, path)


def in_hyper_parameters(path: Path) -> None:
    hyper = Payload(_class_path="os.system", _instantiator="os.system")
    torch.save({"state_dict": {}, "hyper_parameters": hyper}, path)


@pytest.mark.parametrize("write", [pickled, in_a_checkpoint, in_hyper_parameters])
class TestPickles:
    @pytest.mark.parametrize("ending", ["ckpt", "pt", "safetensors"])
    def test_init_from(
        self, write: Callable[[Path], None], ending: str, trained: Trained, capsys: Capture
    ) -> None:
        path = Path(f"weights.{ending}")
        write(path)
        words = ["fit", "--data", str(trained[1]), "--run_dir", "new", *TINY_RUN]
        refused([*words, "--init_from", str(path)], capsys, "weights")
        assert not Path("new").exists()

    def test_pretrained(
        self, write: Callable[[Path], None], trained: Trained, capsys: Capture
    ) -> None:
        write(Path("weights.pt"))
        words = ["fit", "--data", str(trained[1]), "--run_dir", "new", *TINY_RUN]
        refused([*words, "--model.pretrained", "weights.pt"], capsys, "resnet10t")

    def test_resume(self, write: Callable[[Path], None], run: Path, capsys: Capture) -> None:
        write(run / "checkpoints" / "last.ckpt")
        refused(["fit", "--run_dir", str(run), "--resume"], capsys, "last.ckpt is damaged")


def test_classes_named_in_a_checkpoint_are_not_imported(run: Path, capsys: Capture) -> None:
    """The checkpoint is readable, since names are plain text; nothing imports them."""
    Path("untrusted.py").write_text(f"open({RAN!r}, 'w')")
    path = run / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    names = {"_class_path": "untrusted.X", "_instantiator": "untrusted.instantiate"}
    torch.save(content | {"hyper_parameters": names}, path)
    assert main(["fit", "--run_dir", str(run), "--resume", "--report", "false"]) == 0
    assert not Path(RAN).exists()


SPECS = {
    "layers that do not fit": {"backbone_options": {"layers": [1], "channels": [8]}},
    "an untrusted class": {"pooling": {"class_path": "os.system", "init_args": {}}},
    "arguments without names": {"pooling": {"class_path": "average", "init_args": "x"}},
    "a path": {"backbone_options": {"checkpoint_path": "/etc/passwd"}},
    "timm's configuration": {"backbone_options": {"pretrained_cfg": {"file": "/etc/passwd"}}},
    "the hub": {"backbone": "hf-hub:untrusted/model"},
    "a huge number": {"backbone_options": {"channels": [8, 8, 16, 10**9]}},
    "wide": {"backbone_options": {"channels": [8, 8, 16, 60_000]}},
    "deep": {"backbone_options": {"layers": [60_000, 1, 1, 1], "channels": [8, 8, 16, 16]}},
    "huge images": {"image_size": 10**6},
    "no classes": {"class_names": []},
    "a class name that is not text": {"class_names": [["a"], "b"]},
    "many removed strides": {"removed_strides": 10**6},
    "a mean over all floats": {"mean": [10**400, 0, 0]},
    "zero std": {"std": [0, 0, 0]},
    "wrong types": {"backbone": ["resnet18"], "mean": "abc"},
    "other shapes": {"backbone_options": {"channels": [8, 8, 16, 24]}},
}


@pytest.mark.parametrize("command", ["predict", "test"])
@pytest.mark.parametrize("changes", SPECS.values(), ids=SPECS)
def test_invalid_specifications_are_refused(
    changes: dict, command: str, run: Path, trained: Trained, capsys: Capture
) -> None:
    spec = json.loads((run / "model.json").read_text())
    (run / "model.json").write_text(json.dumps(spec | changes))
    images = [str(trained[1] / "test")] if command == "predict" else []
    refused([command, str(run), *images], capsys)


def test_nan_weights_are_refused(run: Path, trained: Trained, capsys: Capture) -> None:
    tensors = load_file(run / "model.safetensors")
    tensors["head.weight"][0, 0] = float("nan")
    save_file(tensors, run / "model.safetensors")
    message = "head.weight contains NaN"
    refused(["predict", str(run), str(trained[1] / "test")], capsys, message)
    words = ["fit", "--data", str(trained[1]), "--run_dir", "new", "--init_from", str(run)]
    refused(words, capsys, message)


def test_a_header_that_claims_terabytes_is_refused(
    run: Path, trained: Trained, capsys: Capture
) -> None:
    entry = {"dtype": "F32", "shape": [2**20, 2**20], "data_offsets": [0, 2**42]}
    header = json.dumps({"head.weight": entry}).encode()
    (run / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    refused(["predict", str(run), str(trained[1] / "test")], capsys, "model.safetensors")


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]\n" for k in range(1, 10)
)
YAMLS = {
    "python": f'model: !!python/object/apply:os.system ["touch {RAN}"]',
    "billion laughs": LAUGHS,
    "recursive": "model: &a {x: *a}",
    "deep": "model: " + "[" * 5000,
    "bytes": "\x00\x01",
}


@pytest.mark.parametrize("text", YAMLS.values(), ids=YAMLS)
def test_hostile_yaml_is_refused(text: str, run: Path, trained: Trained, capsys: Capture) -> None:
    Path("mine.yaml").write_text(text)
    words = ["fit", "--data", str(trained[1]), "--run_dir", "new", "--config", "mine.yaml"]
    refused(words, capsys, "mine.yaml")
    (run / "config.yaml").write_text(text)
    refused(["fit", "--run_dir", str(run), "--resume"], capsys, "config.yaml")
    refused(["test", str(run)], capsys, "config.yaml")


def bomb(path: Path, side: int = 60_000) -> None:
    """A PNG of some kilobytes whose header claims billions of pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(10**6), 9)
    content = chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


def test_a_decompression_bomb_is_refused(run: Path, tmp_path: Path, capsys: Capture) -> None:
    bomb(tmp_path / "bomb.png")
    assert main(["predict", str(run), "bomb.png", "--out", "out.csv"]) == 1
    assert "more than 89 million pixels" in Path("out.csv").read_text()


def test_class_names_with_paths_write_no_files_elsewhere(
    run: Path, trained: Trained, tmp_path: Path
) -> None:
    """Path traversal: whatever the class names, all files are written into the given folder."""
    spec = json.loads((run / "model.json").read_text())
    (run / "model.json").write_text(json.dumps(spec | {"class_names": ["../../up", "/abs/olute"]}))
    (run / "config.yaml").unlink()
    before = {path for path in tmp_path.rglob("*") if run not in path.parents}
    image = sorted((trained[1] / "test").rglob("*.png"))[0]
    words = ["explain", str(run), str(image), "--classes", "2", "--heads", "--out", "sheets"]
    assert main(words) == 0
    assert main(["predict", str(run), str(image), "--out", "out.csv"]) == 0
    words = ["export", str(run), "--format", "hub", "--out", "hub", "--images", str(image)]
    assert main(words) == 0
    new = {path for path in tmp_path.rglob("*") if run not in path.parents} - before
    tops = {path.relative_to(tmp_path).parts[0] for path in new}
    assert tops == {"sheets", "out.csv", "hub"}
    assert not (tmp_path.parent / "up").exists()


def test_a_table_with_paths_outside_its_folder_is_refused(
    trained: Trained, tmp_path: Path, capsys: Capture
) -> None:
    root = tmp_path / "inside"
    root.mkdir()
    Image.new("RGB", (32, 32)).save(tmp_path / "secret.png")
    for path in ("../secret.png", str(tmp_path / "secret.png")):
        (root / "t.csv").write_text(f"path,label\n{path},a\n{path},b\n")
        words = ["fit", "--data", str(root / "t.csv"), "--run_dir", "new", *TINY_RUN]
        refused(words, capsys)


def test_untrusted_classes_in_a_stored_config_are_refused(run: Path, capsys: Capture) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["data"]["source"]["class_path"] = "subprocess.Popen"
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    refused(["test", str(run)], capsys, "--trust subprocess.Popen")
