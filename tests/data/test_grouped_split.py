"""Groups of related images stay on one side of an automatic split."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.model_selection import StratifiedGroupKFold

from vision_attn.core.errors import UserError
from vision_attn.data.datamodule import ImageDataModule
from vision_attn.data.grouped_split import grouped_split
from vision_attn.data.sources.image_folder import ImageFolder
from vision_attn.data.sources.image_table import ImageTable
from vision_attn.data.splits import held_out_count, stratified_split

GROUPED = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 12)), min_size=4, max_size=80)


def noise(path: Path, seed: int, shift: int = 0) -> None:
    """Write an image of smooth noise; `shift` brightens it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 200, (6, 6, 3)).astype(np.uint8)
    picture = Image.fromarray(coarse).resize((48, 48), Image.Resampling.BICUBIC)
    picture.point(lambda value: value + shift).save(path)


def deviation(labels: list[str], held_out: np.ndarray, fraction: float) -> float:
    """The number of images by which the held-out side differs from the wanted one."""
    held = Counter(labels[index] for index in held_out)
    return sum(abs(held[name] - fraction * count) for name, count in Counter(labels).items())


@given(GROUPED, st.integers(0, 5))
def test_groups_are_whole_and_every_image_is_on_one_side(
    images: list[tuple[str, int]], seed: int
) -> None:
    labels, groups = [label for label, _ in images], [group for _, group in images]
    rest, held_out = grouped_split(labels, groups, None, seed)
    assert sorted([*rest, *held_out]) == list(range(len(images)))
    if len(set(groups)) < len(groups):
        assert not {groups[i] for i in rest} & {groups[i] for i in held_out}
        assert {labels[i] for i in rest} == set(labels)
    again = grouped_split(labels, groups, None, seed)
    assert again[1].tolist() == held_out.tolist()


def test_without_related_images_it_is_the_stratified_split() -> None:
    labels = ["a"] * 31 + ["b"] * 17
    expected = stratified_split(labels, 0.2, 3)
    found = grouped_split(labels, list(range(48)), 0.2, 3)
    assert [side.tolist() for side in found] == [side.tolist() for side in expected]


@pytest.mark.parametrize("seed", range(5))
def test_as_stratified_as_scikit_learn(seed: int) -> None:
    random = np.random.default_rng(seed)
    groups = random.integers(0, 61, 397).tolist()
    classes = random.choice(["a", "b", "c"], 61, p=[0.6, 0.3, 0.1])
    labels = [str(classes[group]) for group in groups]
    _, held_out = grouped_split(labels, groups, 0.2, seed)
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
    twin = [deviation(labels, held, 0.2) for _, held in folds.split(labels, labels, groups)]
    assert deviation(labels, held_out, 0.2) <= float(np.median(twin)) + 3


def test_a_large_group_stays_whole_in_training() -> None:
    labels = ["a"] * 30 + ["b"] * 10
    groups = [0] * 20 + list(range(1, 21))
    _, held_out = grouped_split(labels, groups, 0.1, 0)
    held = Counter(labels[index] for index in held_out)
    assert held == {"a": held_out_count(30, 0.1), "b": 1}
    assert held_out.min() >= 20


class TestFolder:
    @pytest.fixture
    def photos(self, tmp_path: Path) -> Path:
        """Two classes of 12 scenes with 3 shots each that differ in brightness."""
        for scene in range(24):
            for shot in range(3):
                name = f"scene{scene}_shot{shot}.png"
                noise(tmp_path / ("cat" if scene % 2 else "dog") / name, scene, 10 * shot)
        return tmp_path

    def scenes(self, data: ImageDataModule) -> dict[str, set[str]]:
        """The scenes of each split."""
        return {
            name: {Path(path).name.split("_")[0] for path in split.names}
            for name, split in data.splits.items()
        }

    @pytest.mark.parametrize("group", [None, r"scene\d+", r"^(.*)_shot"])
    def test_scenes_stay_together(self, photos: Path, group: str | None) -> None:
        data = ImageDataModule(ImageFolder(str(photos)), group=group)
        train, val, test = self.scenes(data).values()
        assert len(train) + len(val) + len(test) == len(train | val | test)
        assert len(train | val | test) == 24
        assert "24 groups" in data.related  # of 3 shots each
        assert all(set(split.labels) == {"cat", "dog"} for split in data.splits.values())

    def test_none_separates_them(self, photos: Path) -> None:
        data = ImageDataModule(ImageFolder(str(photos)), group="none")
        found = self.scenes(data)
        assert found["train"] & (found["val"] | found["test"])
        assert data.related == ""

    def test_subfolders_stay_together(self, tmp_path: Path) -> None:
        for number in range(60):
            name = f"{'ab'[number % 2]}/day{number // 10}/{number}.png"
            noise(tmp_path / name, number)
        data = ImageDataModule(ImageFolder(str(tmp_path)), group="folder")
        days = [{str(Path(name).parent) for name in s.names} for s in data.splits.values()]
        assert sum(map(len, days)) == len(set.union(*days)) == 12

    def test_a_column_of_a_table(self, photos: Path) -> None:
        files = sorted(photos.glob("*/*.png"))
        rows = [f"{f.relative_to(photos)},{f.parent.name},p{int(f.name[5:].split('_')[0]) // 2}"
                for f in files]  # fmt: skip
        table = photos / "table.csv"
        table.write_text("\n".join(["file,label,patient", *rows]))
        data = ImageDataModule(ImageTable(str(table)), group="patient")
        train, val, test = (
            {int(scene[5:]) // 2 for scene in scenes} for scenes in self.scenes(data).values()
        )
        assert len(train) + len(val) + len(test) == len(train | val | test)

    @pytest.mark.parametrize(
        ("group", "message"),
        [
            ("patient", "matches none of 72 file names"),
            ("scene[", "not valid"),
            ("scene", "1 group"),
        ],
    )
    def test_refused(self, photos: Path, group: str, message: str) -> None:
        data = ImageDataModule(ImageFolder(str(photos)), group=group)
        with pytest.raises(UserError, match=message):
            _ = data.splits

    def test_a_class_that_looks_all_the_same_is_split_at_random(self, tmp_path: Path) -> None:
        for number in range(20):
            noise(tmp_path / "same" / f"{number}.png", 0, number)
            noise(tmp_path / "other" / f"{number}.png", 1 + number)
        data = ImageDataModule(ImageFolder(str(tmp_path)))
        assert all("same" in split.labels for split in data.splits.values())
        assert "those of 'same' are split at random" in data.related

    def test_own_splits_are_kept_and_it_is_said(self, photos: Path) -> None:
        for split in ("train", "val"):
            for number in range(8):
                noise(photos / "own" / split / "ab"[number % 2] / f"{number}.png", number)
        data = ImageDataModule(ImageFolder(str(photos / "own")), group="folder")
        assert len(data.splits["val"]) == 8
        assert "not used" in data.related
