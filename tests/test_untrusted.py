"""What a stranger may send: each is refused in a line or two with exit code 2, and nothing runs."""

import json
import os
import pickle
import shutil
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
    """Unpickling it runs a command."""

    def __reduce__(self) -> tuple:
        return (os.system, (f"touch {RAN}",))


class Payload(dict):
    """As a checkpoint of Lightning that names what builds it."""

    def __reduce__(self) -> tuple:
        return (os.system, (f"touch {RAN}",))


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(trained: Trained, tmp_path: Path) -> Path:
    """A copy of a run, to be spoilt."""
    return Path(shutil.copytree(trained[0], tmp_path / "run"))


def refused(words: list[str], capsys: Capture, told: str = "") -> None:
    capsys.readouterr()
    assert main(words) == 2
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("vision-attn:")]
    assert len(lines) == 1
    assert len(error.splitlines()) <= 3
    assert told in error
    assert "Traceback" not in error
    assert not Path(RAN).exists()


def pickled(place: Path) -> None:
    place.write_bytes(pickle.dumps(Hostile()))


def in_a_checkpoint(place: Path) -> None:
    torch.save({"state_dict": {"head.weight": torch.zeros(2, 2)}, "loops": Hostile()}, place)


def in_hyper_parameters(place: Path) -> None:
    hyper = Payload(_class_path="os.system", _instantiator="os.system")
    torch.save({"state_dict": {}, "hyper_parameters": hyper}, place)


@pytest.mark.parametrize("write", [pickled, in_a_checkpoint, in_hyper_parameters])
class TestPickles:
    @pytest.mark.parametrize("ending", ["ckpt", "pt", "safetensors"])
    def test_init_from(
        self, write: Callable[[Path], None], ending: str, trained: Trained, capsys: Capture
    ) -> None:
        place = Path(f"weights.{ending}")
        write(place)
        words = ["fit", "--data", str(trained[1]), "--run_dir", "new", *TINY_RUN]
        refused([*words, "--init_from", str(place)], capsys, "weights")
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


def test_classes_that_a_checkpoint_names_are_not_imported(run: Path, capsys: Capture) -> None:
    """Plain text, so that it can be read; nothing asks for it."""
    Path("stranger.py").write_text(f"open({RAN!r}, 'w')")
    place = run / "checkpoints" / "last.ckpt"
    content = torch.load(place, weights_only=True)
    names = {"_class_path": "stranger.X", "_instantiator": "stranger.instantiate"}
    torch.save(content | {"hyper_parameters": names}, place)
    assert main(["fit", "--run_dir", str(run), "--resume", "--report", "false"]) == 0
    assert not Path(RAN).exists()


CARDS = {
    "a foreign class": {"pooling": {"class_path": "os.system", "init_args": {}}},
    "a path": {"backbone_options": {"checkpoint_path": "/etc/passwd"}},
    "timm's configuration": {"backbone_options": {"pretrained_cfg": {"file": "/etc/passwd"}}},
    "the hub": {"backbone": "hf-hub:stranger/model"},
    "a huge number": {"backbone_options": {"channels": [8, 8, 16, 10**9]}},
    "wide": {"backbone_options": {"channels": [8, 8, 16, 60_000]}},
    "deep": {"backbone_options": {"layers": [60_000, 1, 1, 1], "channels": [8, 8, 16, 16]}},
    "huge images": {"image_size": 10**6},
    "no classes": {"class_names": []},
    "a class that is no text": {"class_names": [["a"], "b"]},
    "many strides": {"removed_strides": 10**6},
    "no colours": {"std": [0, 0, 0]},
    "wrong types": {"backbone": ["resnet18"], "mean": "abc"},
    "other shapes": {"backbone_options": {"channels": [8, 8, 16, 24]}},
}


@pytest.mark.parametrize("command", ["predict", "test"])
@pytest.mark.parametrize("spoilt", CARDS.values(), ids=CARDS)
def test_cards(spoilt: dict, command: str, run: Path, trained: Trained, capsys: Capture) -> None:
    spec = json.loads((run / "model.json").read_text())
    (run / "model.json").write_text(json.dumps(spec | spoilt))
    images = [str(trained[1] / "test")] if command == "predict" else []
    refused([command, str(run), *images], capsys)


def test_weights_that_are_no_numbers(run: Path, trained: Trained, capsys: Capture) -> None:
    tensors = load_file(run / "model.safetensors")
    tensors["head.weight"][0, 0] = float("nan")
    save_file(tensors, run / "model.safetensors")
    told = "head.weight contains NaN"
    refused(["predict", str(run), str(trained[1] / "test")], capsys, told)
    words = ["fit", "--data", str(trained[1]), "--run_dir", "new", "--init_from", str(run)]
    refused(words, capsys, told)


def test_a_header_that_promises_terabytes(run: Path, trained: Trained, capsys: Capture) -> None:
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
    "endless": "model: &a {x: *a}",
    "deep": "model: " + "[" * 5000,
    "bytes": "\x00\x01",
}


@pytest.mark.parametrize("text", YAMLS.values(), ids=YAMLS)
def test_yaml(text: str, run: Path, trained: Trained, capsys: Capture) -> None:
    Path("mine.yaml").write_text(text)
    words = ["fit", "--data", str(trained[1]), "--run_dir", "new", "--config", "mine.yaml"]
    refused(words, capsys, "mine.yaml")
    (run / "config.yaml").write_text(text)
    refused(["fit", "--run_dir", str(run), "--resume"], capsys, "config.yaml")
    refused(["test", str(run)], capsys, "config.yaml")


def bomb(place: Path, side: int = 60_000) -> None:
    """A PNG of some kilobytes that says it has billions of pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(10**6), 9)
    content = chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    place.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


def test_a_decompression_bomb(run: Path, tmp_path: Path, capsys: Capture) -> None:
    bomb(tmp_path / "bomb.png")
    assert main(["predict", str(run), "bomb.png", "--out", "out.csv"]) == 1
    assert "are more than the 89 million that are read" in Path("out.csv").read_text()


def test_names_that_climb_out(run: Path, trained: Trained, tmp_path: Path) -> None:
    """Whatever classes are called, files are written below the folder that was named."""
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


def test_a_table_that_climbs_out(trained: Trained, tmp_path: Path, capsys: Capture) -> None:
    root = tmp_path / "inside"
    root.mkdir()
    Image.new("RGB", (32, 32)).save(tmp_path / "secret.png")
    for path in ("../secret.png", str(tmp_path / "secret.png")):
        (root / "t.csv").write_text(f"path,label\n{path},a\n{path},b\n")
        words = ["fit", "--data", str(root / "t.csv"), "--run_dir", "new", *TINY_RUN]
        refused(words, capsys)


def test_a_stored_config_does_not_decide_classes(run: Path, capsys: Capture) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["data"]["source"]["class_path"] = "subprocess.Popen"
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    refused(["test", str(run)], capsys, "--trust subprocess.Popen")
