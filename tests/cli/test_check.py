"""`vision-attn check`: reports every kind of bad file by name, and nothing for good data sets."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import TINY_RUN, write_images
from vision_attn.cli.main import main
from vision_attn.core.registry import available
from vision_attn.data.checks.base import Check
from vision_attn.data.checks.file_hash import groups_of_copies
from vision_attn.data.checks.perceptual_hash import candidates, difference_hashes, groups_of_alike

Findings = list[dict[str, Any]]


def run_check(path: Path, tmp_path: Path, *options: str) -> tuple[int, Findings]:
    """Exit code and findings of the command."""
    out = tmp_path / "check.json"
    code = main(["check", str(path), "--json", str(out), *options])
    content = json.loads(out.read_text())
    assert content["exit_code"] == code
    return code, content["findings"]


def finding_of(findings: Findings, check: str, *words: str) -> dict[str, Any]:
    """The only finding of a check that has all of the words in its text."""
    matching = [
        f for f in findings if f["check"] == check and all(word in f["what"] for word in words)
    ]
    assert len(matching) == 1, (check, words, findings)
    return matching[0]


def photograph(seed: int, size: tuple[int, int] = (96, 80)) -> Image.Image:
    """A smooth random image, which survives re-encoding like a photograph."""
    random = np.random.default_rng(seed)
    small = Image.fromarray(random.integers(0, 256, (7, 7, 3)).astype(np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Train and test folders of two classes, 12 and 4 images each, without any problem."""
    root, seed = tmp_path / "photographs", 0
    for split, count in (("train", 12), ("test", 4)):
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            for k in range(count):
                photograph(seed := seed + 1).save(root / split / name / f"{k:03d}.png")
    return root


def test_a_good_data_set_has_no_findings(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_check(photographs, tmp_path) == (0, [])
    output = capsys.readouterr().out
    assert "24 train, 8 test images of 2 classes" in output
    assert "32 96x80" in output
    assert "no problems" in output


def test_every_kind_of_bad_file_is_named(photographs: Path, tmp_path: Path) -> None:
    cats, dogs = photographs / "train" / "cat", photographs / "train" / "dog"
    content = (cats / "000.png").read_bytes()
    (cats / "truncated.png").write_bytes(content[: len(content) // 2])
    photograph(91).save(tmp_path / "complete.jpg")
    (cats / "truncated.jpg").write_bytes((tmp_path / "complete.jpg").read_bytes()[:900])
    (cats / "empty.jpg").write_bytes(b"")
    (cats / "text.jpg").write_text("not an image")
    (cats / "null.bmp").write_bytes(b"BM" + bytes(200))
    photograph(92).save(cats / "really.png.jpg", format="PNG")
    photograph(93).save(cats / "nameless", format="PNG")
    (cats / "notes.txt").write_text("seen on Monday")
    Image.new("RGB", (40, 40), "blue").save(cats / "blue.png")
    photograph(94, (9, 12)).save(cats / "tiny.png")
    photograph(95, (900, 100)).save(cats / "narrow.png")
    (cats / ".hidden.png").write_bytes(content)
    photograph(96).save(photographs / "train" / "stray.png")
    photograph(97).save(dogs / "copied.png")
    shutil.copy(dogs / "copied.png", photographs / "test" / "dog" / "leak.png")
    shutil.copy(dogs / "001.png", cats / "mislabelled.png")
    shutil.copy(dogs / "002.png", dogs / "again.png")
    photograph(98).save(dogs / "shot.png")
    photograph(98, (60, 50)).save(photographs / "test" / "dog" / "smaller.jpg", quality=60)

    code, findings = run_check(photographs, tmp_path)
    assert code == 1
    unreadable = finding_of(findings, "unreadable", "5 files")["items"]
    for name in ("truncated.png", "truncated.jpg", "empty.jpg", "text.jpg", "null.bmp"):
        assert any(item.startswith(f"train/cat/{name}: ") for item in unreadable)
    assert "train/cat/empty.jpg: is empty: 0 bytes" in unreadable
    expected: list[tuple[str, str, list[str]]] = [
        ("extensions", "another format", ["train/cat/really.png.jpg: is PNG"]),
        ("extensions", "without an image extension", ["train/cat/nameless"]),
        ("single_color", "1 image", ["train/cat/blue.png"]),
        ("image_sizes", "smaller than 16", ["train/cat/tiny.png: 9x12"]),
        ("image_sizes", "times as long", ["train/cat/narrow.png: 900x100"]),
        ("folder_layout", "hidden", ["train/cat/.hidden.png"]),
        ("folder_layout", "outside", ["train/stray.png"]),
        (
            "folder_layout",
            "without an image extension",
            ["train/cat/nameless", "train/cat/notes.txt"],
        ),
        ("duplicates", "more than one class", ["train/cat/mislabelled.png = train/dog/001.png"]),
        ("duplicates", "more than one split", ["train/dog/copied.png = test/dog/leak.png"]),
        ("duplicates", "within a class", ["train/dog/002.png = train/dog/again.png"]),
        ("near_duplicates", "across splits", ["train/dog/shot.png ~ test/dog/smaller.jpg"]),
    ]
    for check, words, items in expected:
        assert finding_of(findings, check, words)["items"] == items
    assert len(findings) == len(expected) + 1


def test_the_most_severe_finding_is_reported_first(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cats = photographs / "train" / "cat"
    (cats / "notes.txt").write_text("no image")
    (cats / "empty.png").write_bytes(b"")
    shutil.copy(cats / "000.png", photographs / "test" / "dog" / "leak.png")
    assert main(["check", str(photographs)]) == 1
    output = capsys.readouterr().out
    texts = ("more than one class", "cannot be read", "1 file without an image extension")
    positions = [output.index(text) for text in texts]
    assert positions == sorted(positions)


def test_class_problems_are_reported(photographs: Path, tmp_path: Path) -> None:
    shutil.rmtree(photographs / "test" / "dog")
    write_images(photographs / "train" / "bird", 2, 0)
    write_images(photographs / "test" / "bat", 2, 1)
    (photographs / "train" / "eel").mkdir()
    code, findings = run_check(photographs, tmp_path)
    assert code == 1
    assert finding_of(findings, "missing_class", "test has no images")["items"] == ["bird", "dog"]
    assert finding_of(findings, "missing_class", "train lacks")["items"] == ["bat"]
    assert finding_of(findings, "few_images")["items"] == ["bird: 2"]
    assert finding_of(findings, "class_imbalance", "2 (bird)", "12 images (cat)", "6:1")
    assert finding_of(findings, "folder_layout", "class folder")["items"] == ["train/eel"]
    code, findings = run_check(photographs / "test", tmp_path)
    assert code == 1
    shutil.rmtree(photographs / "test" / "bat")
    code, findings = run_check(photographs / "test", tmp_path)
    assert finding_of(findings, "single_class")["items"] == ["cat"]


def test_a_mask_folder_beside_the_images_is_not_a_class(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, masks = tmp_path / "set" / "images", tmp_path / "set" / "masks"
    shutil.copytree(photographs / "train", images)
    for image in images.rglob("*.png"):
        mask = masks / image.relative_to(images)
        mask.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (96, 80), 0 if image.parent.name == "cat" else 255).save(mask)
    Image.new("L", (96, 80), 0).save(masks / "dog" / "003.png")
    (masks / "dog" / "004.png").unlink()
    code, findings = run_check(tmp_path / "set", tmp_path)
    assert code == 0
    assert main(["fit", "--data", str(tmp_path / "set")]) == 2
    assert f"use the folder of images, --data {images}" in capsys.readouterr().err
    assert "images was checked" in finding_of(findings, "folder_layout")["what"]
    assert finding_of(findings, "object_masks", "1 empty mask")["items"] == ["dog/003.png"]
    assert finding_of(findings, "object_masks", "without a mask")["items"] == ["dog/004.png"]
    assert finding_of(findings, "object_masks", "only empty masks")["items"] == ["cat"]
    assert run_check(images, tmp_path, "--truth", str(masks))[1] != []
    shutil.copytree(masks, images / "masks")
    code, findings = run_check(images, tmp_path)
    assert code == 1
    assert finding_of(findings, "folder_layout", "among the class folders")["items"] == ["masks"]


def test_box_problems_are_reported(photographs: Path, tmp_path: Path) -> None:
    rows = ["file,xmin,ymin,xmax,ymax", "train/cat/000.png,3,4,3,9", "train/cat/none.png,1,1,5,5"]
    (photographs / "boxes.csv").write_text("\n".join(rows))
    code, findings = run_check(photographs, tmp_path)
    assert code == 0
    assert finding_of(findings, "object_masks", "1 box without an area")["items"] == [
        "train/cat/000.png: 3, 4, 3, 9"
    ]
    assert finding_of(findings, "object_masks", "of missing images")["items"] == [
        "train/cat/none.png"
    ]
    assert len(finding_of(findings, "object_masks", "without a box")["items"]) == 31
    assert not [finding for finding in findings if finding["check"] == "folder_layout"]


def test_grayscale_data_sets_are_reported_in_one_finding(photographs: Path, tmp_path: Path) -> None:
    for path in photographs.rglob("*.png"):
        Image.open(path).convert("L").save(path)
    code, findings = run_check(photographs, tmp_path)
    assert (code, len(findings)) == (0, 1)
    assert "32 images are grayscale" in finding_of(findings, "grayscale")["what"]


def test_it_refuses_invalid_arguments(
    tmp_path: Path, photographs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty" / "cat").mkdir(parents=True)
    for options, message in (
        ([str(tmp_path / "none")], "there is no folder"),
        ([str(tmp_path / "empty")], "has no images"),
        ([str(photographs), "--truth", "none"], "--truth: there is no file or folder none"),
        ([str(photographs), "--jsn", "x"], "Did you mean '--json'?"),
        (
            [str(photographs), "--json", str(photographs / "train" / "cat" / "000.png" / "file")],
            "was not written",
        ),
    ):
        assert main(["check", *options]) == 2
        assert message in capsys.readouterr().err


def test_every_check_file_is_registered() -> None:
    names = set(available(Check))
    assert {"unreadable", "duplicates", "near_duplicates", "folder_layout", "object_masks"} <= names
    assert {name for name, check in available(Check).items() if check.run_before_fit} == {
        "duplicates", "few_images", "missing_class",
    }  # fmt: skip


def test_groups_of_copies_equal_those_of_comparing_all_pairs(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    paths = [tmp_path / f"{k:03d}" for k in range(97)]
    for path in paths:
        path.write_bytes(b"ab" * int(random.integers(0, 4)) + bytes([random.integers(0, 3)]))
    (tmp_path / "empty").write_bytes(b"")
    paths += [tmp_path / "empty", tmp_path / "empty", tmp_path / "none"]
    content = [path.read_bytes() if path.exists() else b"" for path in paths]
    slow = {
        tuple(other for other in range(100) if content[other] == content[one])
        for one in range(100)
        if content[one]
    }
    fast = groups_of_copies([str(path) for path in paths])
    assert {tuple(group) for group in fast} == {group for group in slow if len(group) > 1}
    assert groups_of_copies([str(path) for path in paths], limit=10) == []


def test_near_duplicates_equal_those_of_comparing_all_pairs() -> None:
    """Sorting finds at least 98 % of the pairs that the quadratic comparison finds."""
    random = np.random.default_rng(0)
    first = random.integers(0, 256, (499, 9, 9))
    noisy = np.clip(first[::3] + random.integers(-6, 7, (167, 9, 9)), 0, 255)
    images = np.concatenate([first, noisy]).astype(np.uint8)
    bits = np.unpackbits(difference_hashes(images), axis=1)
    distances = (bits[:, None] != bits[None]).sum(-1)
    slow = {(a, b) for a, b in np.argwhere(distances <= 10).tolist() if a < b}
    fast = {(a, b) for a, b in candidates(difference_hashes(images)).tolist()}
    assert len(slow) > 140
    assert fast <= slow
    assert len(fast) >= 0.98 * len(slow)
    assert {(3 * k, 499 + k) for k in range(167)} >= {tuple(g) for g in groups_of_alike(images)}


def test_no_near_duplicates_among_no_or_one_or_blank_images() -> None:
    assert groups_of_alike(np.empty((0, 9, 9), np.uint8)) == []
    assert groups_of_alike(np.zeros((1, 9, 9), np.uint8)) == []
    assert groups_of_alike(np.zeros((5, 9, 9), np.uint8)) == []  # blank


def test_fit_warns_if_validation_images_look_like_training_images(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photographs / "test").rename(photographs / "val")
    command = ["fit", "--data", str(photographs), *TINY_RUN, "--trainer.max_epochs", "1"]
    assert main([*command, "--run_dir", str(tmp_path / "a")]) == 0
    assert "look the same" not in capsys.readouterr().out
    again = photographs / "val" / "cat" / "again.jpg"
    with Image.open(photographs / "train" / "cat" / "003.png") as image:
        image.resize((48, 40)).save(again, quality=80)
    assert main([*command, "--run_dir", str(tmp_path / "b"), "--report", "true"]) == 0
    warning = "1 of 9 val images look the same as a training image"
    assert warning in capsys.readouterr().out
    assert warning in (tmp_path / "b" / "report.html").read_text()


def test_masks_beside_the_splits_are_not_stray_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "test"):
        for color, name in enumerate(("ant", "bee")):
            write_images(tmp_path / split / name, 3, color)
    for name in ("ant", "bee"):
        write_images(tmp_path / "masks" / name, 3, 7)
    main(["check", str(tmp_path)])
    out = capsys.readouterr().out
    assert "outside the class folders" not in out
    assert "Move them into class folders" not in out
    assert "masks is taken for masks of the objects" in out
    assert f"--truth {tmp_path / 'masks'}" in out
