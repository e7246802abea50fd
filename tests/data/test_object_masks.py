"""Object masks from boxes and mask files, for the upright image that the model sees."""

from pathlib import Path

import pytest
import torch
from PIL import ExifTags, Image, ImageFilter
from torch import Tensor

from vision_attn.core.errors import UserError
from vision_attn.data.io.object_masks import read_masks_of_files
from vision_attn.data.sources.image_folder import ImageFolder

HEADER = "file,label,xmin,ymin,xmax,ymax"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of one image each, 20 x 10 pixels."""
    for name in ("a", "b"):
        (tmp_path / "train" / name).mkdir(parents=True)
        Image.new("RGB", (20, 10)).save(tmp_path / "train" / name / "1.png")
    return tmp_path


def masks(root: Path, truth: Path | None = None) -> list[Tensor]:
    """The object mask of each image at 8 x 8 pixels."""
    split = ImageFolder(str(root), truth=str(truth) if truth else None).splits()["train"]
    assert split.read_mask is not None
    return [split.read_mask(index, 8) for index in range(len(split))]


def write_boxes(path: Path, *lines: str) -> Path:
    path.write_text("\n".join([HEADER, *lines]) + "\n")
    return path


class TestBoxes:
    def test_a_boxes_csv_in_the_data_folder_is_found(self, root: Path) -> None:
        write_boxes(root / "boxes.csv", "train/a/1.png,a,0,0,9,4", "train/b/1.png,b,5,5,5,5")
        first, second = masks(root)
        assert first[:4, :4].all()
        assert first.sum() == 16
        assert not second.any()  # a degenerate box

    def test_the_last_pixel_belongs_to_the_box(self, root: Path) -> None:
        write_boxes(root / "boxes.csv", "train/a/1.png,a,0,0,19,9", "train/b/1.png,b,0,0,17,9")
        first, second = masks(root)
        assert first.all()
        assert not second[:, 7].any()

    def test_several_boxes_and_boxes_beyond_the_border(self, root: Path) -> None:
        lines = ["train/a/1.png,a,-3,0,9,4", "train/a/1.png,a,10,5,inf,30.0"]
        write_boxes(root / "boxes.csv", *lines)
        first, second = masks(root)
        assert first[:4, :4].all()
        assert first[4:, 4:].all()
        assert first.sum() == 32
        assert not second.any()  # an image that the CSV does not list

    def test_a_rotated_photo(self, root: Path) -> None:
        """Boxes are in pixels of the stored image; the model sees it upright."""
        stored = Image.new("RGB", (20, 10))
        stored.paste((255, 255, 255), (0, 0, 10, 10))  # left half; the top half when upright
        exif = stored.getexif()
        exif[ExifTags.Base.Orientation] = 6
        stored.save(root / "train" / "a" / "1.jpg", exif=exif)
        (root / "train" / "a" / "1.png").unlink()
        write_boxes(root / "boxes.csv", "train/a/1.jpg,a,0,0,9,9")
        split = ImageFolder(str(root)).splits()["train"]
        white = split.read(0, 8).float().mean(0) > 127
        assert white[:4].all()
        assert torch.equal(masks(root)[0], white)

    def test_a_csv_with_other_columns_is_ignored(self, root: Path) -> None:
        (root / "boxes.csv").write_text("image,x,y,w,h\n1.png,0,0,5,5\n")
        assert ImageFolder(str(root)).splits()["train"].read_mask is None
        with pytest.raises(
            UserError, match="is not a list of boxes: it needs the columns file, xmin"
        ):
            masks(root, root / "boxes.csv")

    def test_a_csv_saved_by_a_spreadsheet_program(self, root: Path) -> None:
        text = f"{HEADER}\ntrain/a/1.png,a,0,0,9,4\n"
        (root / "boxes.csv").write_text(text, encoding="utf-8-sig")
        assert masks(root)[0].sum() == 16

    @pytest.mark.parametrize("line", ["train/a/1.png,a,0,x,9,4", "train/a/1.png,a,0"])
    def test_an_invalid_box_is_an_error(self, root: Path, line: str) -> None:
        write_boxes(root / "boxes.csv", line)
        with pytest.raises(
            UserError, match=r"boxes.csv, line 2: a box needs a file name and four numbers"
        ):
            masks(root)


class TestMasks:
    @pytest.mark.parametrize("subfolder", ["a", "train/a"])
    def test_mask_paths_relative_to_the_data_or_split_folder(
        self, root: Path, subfolder: str
    ) -> None:
        white = Image.new("L", (20, 10))
        white.paste(255, (10, 0, 20, 10))
        folder = root / "masks" / subfolder
        folder.mkdir(parents=True)
        white.save(folder / "1.bmp")
        Image.new("L", (20, 10), 255).save(folder / "1.1.png")  # the mask of another image
        (folder / "1.json").write_text("{}")
        first, second = masks(root, root / "masks")
        assert first.sum(0).tolist() == [0] * 4 + [8] * 4
        assert not second.any()

    def test_a_photograph_is_no_mask(self, root: Path) -> None:
        photos = root.parent / "photos" / "train" / "a"
        photos.mkdir(parents=True)
        Image.linear_gradient("L").convert("RGB").save(photos / "1.jpg")
        with pytest.raises(UserError, match="1.jpg is not a mask but a picture with many shades"):
            masks(root, root.parent / "photos")

    def test_a_mask_with_smooth_edges_as_jpeg_is_one(self, root: Path) -> None:
        folder = root.parent / "soft" / "train" / "a"
        folder.mkdir(parents=True)
        mask = Image.new("L", (200, 100))
        mask.paste(255, (50, 25, 150, 75))
        blurred = mask.filter(ImageFilter.GaussianBlur(2))
        assert sum(count > 0 for count in blurred.histogram()) > 16
        blurred.save(folder / "1.jpg", quality=50)
        found, _ = masks(root, root.parent / "soft")
        assert found.sum() == 16  # 2 to 5 of 8 rows and of 8 columns

    def test_a_damaged_mask_is_an_error(self, root: Path) -> None:
        (root / "masks" / "a").mkdir(parents=True)
        (root / "masks" / "a" / "1.png").write_text("not an image")
        with pytest.raises(UserError, match=r"the mask of .*1.png cannot be read"):
            masks(root, root / "masks")


class TestFilesFromAnywhere:
    """Images that are given one by one, without a data folder."""

    def test_the_nearest_boxes_csv_above_is_used(self, root: Path) -> None:
        write_boxes(root / "boxes.csv", "train/a/1.png,a,0,0,9,4", "train/b/1.png,b,0,0,9,4")
        write_boxes(root / "train" / "b" / "boxes.csv", "1.png,b,10,5,19,9")
        read_mask = read_masks_of_files(None)
        first, second = (read_mask(root / "train" / name / "1.png", 10, 20) for name in ("a", "b"))
        assert first.shape == (10, 20)
        assert first[:5, :10].all()
        assert first.sum() == 50
        assert second[5:, 10:].all()
        assert second.sum() == 50

    def test_without_any_boxes_csv_masks_are_empty(self, root: Path) -> None:
        assert not read_masks_of_files(None)(root / "train" / "a" / "1.png", 10, 20).any()

    def test_a_boxes_csv_in_another_folder(self, root: Path, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").mkdir()
        csv_path = write_boxes(tmp_path / "elsewhere" / "x.csv", "../train/a/1.png,a,0,0,9,4")
        read_mask = read_masks_of_files(csv_path)
        assert read_mask(root / "train" / "a" / "1.png", 10, 20).sum() == 50

    @pytest.mark.parametrize("subfolder", ["", "a", "train/a"])
    def test_mask_paths_relative_to_any_folder_of_the_image(
        self, subfolder: str, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        white = Image.new("L", (20, 10))
        white.paste(255, (10, 0, 20, 10))
        folder = root / "masks" / subfolder
        folder.mkdir(parents=True)
        white.save(folder / "1.bmp")
        monkeypatch.chdir(root / "train")
        mask = read_masks_of_files(root / "masks")(Path("a/1.png"), 5, 8)
        assert mask.sum(0).tolist() == [0] * 4 + [5] * 4

    def test_the_mask_that_shares_the_longest_path_is_used(self, root: Path) -> None:
        (root / "masks" / "a").mkdir(parents=True)
        Image.new("L", (20, 10), 255).save(root / "masks" / "a" / "1.png")
        Image.new("L", (20, 10), 0).save(root / "masks" / "1.png")
        read_mask = read_masks_of_files(root / "masks")
        assert read_mask(root / "train" / "a" / "1.png", 5, 8).all()
        assert not read_mask(root / "train" / "b" / "1.png", 5, 8).any()
