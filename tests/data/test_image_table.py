"""Image tables: reading, invalid tables, repeating a run from its split.csv, class balance."""

import csv
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
import yaml

from tests.conftest import TINY_RUN, write_images
from vision_attn.cli.main import main
from vision_attn.core.errors import UserError
from vision_attn.data.datamodule import ImageDataModule
from vision_attn.data.sources.image_table import ImageTable
from vision_attn.runs.folder import read_weights


@pytest.fixture
def csv_table(tmp_path: Path) -> Path:
    """A table of 2 x 12 training and 2 x 4 test images, with the images in its folder."""
    rows = ["path,label,split"]
    for split, count in (("train", 12), ("test", 4)):
        for color, name in enumerate(("red", "green")):
            write_images(tmp_path / split / name, count, color)
            rows += [f"{split}/{name}/{k:03d}.png,{name},{split}" for k in range(count)]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(rows) + "\n")
    return table


def write(table: Path, *rows: str, encoding: str = "utf-8") -> str:
    table.write_text("\n".join(rows) + "\n", encoding=encoding)
    return str(table)


class TestReading:
    def test_splits_and_classes(self, csv_table: Path) -> None:
        source = ImageTable(str(csv_table))
        splits = source.splits()
        assert source.class_names == ["green", "red"]
        assert source.natural_size == 20
        assert {name: len(split) for name, split in splits.items()} == {"train": 24, "test": 8}
        index = list(splits["train"].labels).index("red")
        red, green, _ = splits["train"].read(index, 8).float().mean((1, 2)).tolist()
        assert red > green + 50

    @pytest.mark.parametrize("separator", [",", ";", "\t"])
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
    def test_separators_and_encodings_of_spreadsheet_programs(
        self, csv_table: Path, separator: str, encoding: str
    ) -> None:
        rows = csv_table.read_text().replace(",", f"{separator} ").splitlines()
        source = ImageTable(write(csv_table, *rows, encoding=encoding))
        assert Counter(source.splits()["train"].labels) == {"red": 12, "green": 12}

    def test_labels_are_read_as_text(self, csv_table: Path) -> None:
        numbered = csv_table.read_text().replace(",red", ",007").replace(",green", ",10")
        assert ImageTable(write(csv_table, numbered)).class_names == ["007", "10"]

    @pytest.mark.parametrize("odd", ["\u2028", "\x85", "\x0b", "\x1c"])
    def test_only_line_feeds_end_a_line(self, csv_table: Path, odd: str) -> None:
        label = f"a{odd}b"
        named = csv_table.read_text().replace(",red", f",{label}")
        assert label in ImageTable(write(csv_table, named)).class_names

    def test_usual_split_names_and_custom_column_names(self, csv_table: Path) -> None:
        rows = csv_table.read_text().replace(",train", ",Training").splitlines()
        table = write(csv_table, "photo,species,part", *rows[1:])
        columns = {"path_column": "photo", "label_column": "species", "split_column": "part"}
        assert set(ImageTable(table, **columns).splits()) == {"train", "test"}

    def test_missing_splits_are_cut(self, csv_table: Path) -> None:
        rows = [row.rpartition(",")[0] for row in csv_table.read_text().splitlines()]
        table = write(csv_table, *rows)
        data = ImageDataModule(ImageTable(table), val_fraction=0.25)
        sizes = {name: len(split) for name, split in data.splits.items()}
        # Of each class a quarter of 16 images, then a quarter of the remaining 12.
        assert sizes == {"train": 18, "val": 8, "test": 6}
        assert set(ImageTable(table, default_split="test").splits()) == {"test"}

    def test_parquet(self, csv_table: Path, tmp_path: Path) -> None:
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow.parquet import write_table

        with csv_table.open(newline="") as lines:
            rows = list(csv.DictReader(lines))
        columns = {key: [row[key] for row in rows] for key in rows[0]}
        columns["label"] = [7 if label == "red" else 10 for label in columns["label"]]
        columns["pixels"] = [b"\x00\xff"] * len(rows)
        table = tmp_path / "table.parquet"
        write_table(pyarrow.table(columns), table)
        source = ImageTable(str(table))
        assert source.class_names == ["10", "7"]
        assert {name: len(split) for name, split in source.splits().items()} == {
            "train": 24, "test": 8,
        }  # fmt: skip
        table.write_bytes(b"PAR1 and no more")
        with pytest.raises(UserError, match="is not a Parquet file"):
            ImageTable(str(table))

    def test_parquet_without_pyarrow_is_an_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "table.parquet").write_bytes(b"")
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(UserError, match=r"pip install 'vision-attn\[parquet\]'"):
            ImageTable(str(tmp_path / "table.parquet"))

    def test_missing_files_are_counted_and_listed(
        self, csv_table: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (csv_table.parent / "train" / "red" / "003.png").unlink()
        assert len(ImageTable(str(csv_table)).splits()["train"]) == 23
        output = capsys.readouterr().err
        assert "red/003.png (table.csv, line 5)" in output
        assert "1 of 32 files are missing" in output

    def test_a_file_listed_twice_counts_once(self, csv_table: Path) -> None:
        with csv_table.open("a") as file:
            file.write("train/red/000.png,red,train\n")
        assert len(ImageTable(str(csv_table)).splits()["train"]) == 24


class TestInvalidTables:
    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            (["path,lable", "a.png,x"], "no column 'label'. Did you mean 'lable'?"),
            (["paths,label", "a.png,x"], "no column 'path'. Did you mean 'paths'?"),
            (["path,label"], "has no rows"),
            (["path,label", "a.png"], "line 2: too few columns"),
            (["path,label", "a.png,"], "line 2: the label is empty"),
            (["path,label", ",x"], "line 2: the path is empty"),
            (["path,label", "none.png,x"], "none of its 1 files exists"),
            (["path,label,split", "in.png,x,trian"], "Did you mean 'train'?"),
            (["path,label,split", "in.png,x,train", "on.png,y,"], "line 3: no split"),
            (["path,label,split", "in.png,x,test"], "no training images (it has: test)"),
            (["path,label", "in.png,x", "on.png,x"], "only one training class ('x')"),
            (["path,label", "in.png,x", "in.png,y"], "lines 2 and 3: the same file as 'x'"),
            (["path,label,split", "in.png,x,train", "in.png,x,test"], "lines 2 and 3"),
        ],
    )
    def test_the_error_is_one_line(self, tmp_path: Path, rows: list[str], message: str) -> None:
        write_images(tmp_path, 2, 0)
        (tmp_path / "000.png").rename(tmp_path / "in.png")
        (tmp_path / "001.png").rename(tmp_path / "on.png")
        with pytest.raises(UserError) as error:
            ImageTable(write(tmp_path / "table.csv", *rows))
        assert message in str(error.value)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize(
        "kind", ["../secret/000.png", "absolute", "link.png", "folder/000.png"]
    )
    def test_paths_that_lead_out_of_the_folder_are_refused(self, tmp_path: Path, kind: str) -> None:
        outside, inside = tmp_path / "secret", tmp_path / "set"
        write_images(outside, 1, 0)
        write_images(inside, 1, 1)
        (inside / "link.png").symlink_to(outside / "000.png")
        (inside / "folder").symlink_to(outside)
        path = str(outside / "000.png") if kind == "absolute" else kind
        table = write(inside / "table.csv", "path,label", f"{path},a", "000.png,b")
        advice = "root DIR" if kind[0] in ".a" else "follow_links true"
        with pytest.raises(UserError, match=rf"line 2: .* leads out of .*--data.source.{advice}"):
            ImageTable(table)
        if kind[0] not in ".a":
            linked = ImageTable(table, follow_links=True).splits()["train"]
            assert linked.names == [str(inside / kind), str(inside / "000.png")]
            assert (linked.read(0, 8) != linked.read(1, 8)).any()
        source = ImageTable(write(inside / "table.csv", "path,label", *(
            ["secret/000.png,a", "set/000.png,b"]
        )), root=str(tmp_path))  # fmt: skip
        assert len(source.splits()["train"]) == 2

    def test_another_encoding_is_refused(self, tmp_path: Path) -> None:
        table = write(tmp_path / "table.csv", "path,label", "a.png,Käfer", encoding="latin-1")
        with pytest.raises(UserError, match="not in UTF-8"):
            ImageTable(table)

    def test_a_missing_table_is_an_error(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["fit", "--data", str(tmp_path / "none.csv")]) == 2
        assert "there is no table" in capsys.readouterr().err


class TestRuns:
    def test_a_run_is_reproduced_from_its_split_csv(
        self, csv_table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Random splits of a folder, then the recorded table, give the same weights."""
        folder, first, again = csv_table.parent / "train", tmp_path / "first", tmp_path / "again"
        options = [*TINY_RUN, "--trainer.max_epochs", "1", "--data.val_fraction", "0.25"]
        assert main(["fit", "--data", str(folder), "--run_dir", str(first), *options]) == 0
        assert f"--data {first}/split.csv --data.source.root {folder}" in capsys.readouterr().out
        options += ["--data", str(first / "split.csv"), "--data.source.root", str(folder)]
        assert main(["fit", "--run_dir", str(again), *options]) == 0
        assert (first / "split.csv").read_text() == (again / "split.csv").read_text()
        a, b = (read_weights(run / "model.safetensors") for run in (first, again))
        assert all(torch.equal(a[key], b[key]) for key in a)
        assert main(["test", str(again)]) == 0
        for color, name in enumerate(("red", "green")):  # others than those that were trained on
            write_images(csv_table.parent / "test" / name, 4, color, size=(25, 21))
        assert main(["test", str(again), "--data", str(csv_table)]) == 0
        assert "test images 8" in capsys.readouterr().out

    def test_a_resumed_run_reports_that_its_images_changed(
        self, csv_table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run, folder = tmp_path / "run", csv_table.parent / "train"
        command = ["fit", "--run_dir", str(run), "--trainer.max_epochs"]
        assert main([*command, "1", "--data", str(folder), *TINY_RUN]) == 0
        before = (run / "split.csv").read_text()
        assert main([*command, "2", "--resume"]) == 0
        assert "images have changed" not in capsys.readouterr().out
        (folder / "red" / "000.png").unlink()
        assert main([*command, "3", "--resume"]) == 0
        assert "images have changed" in capsys.readouterr().out
        assert (run / "split.csv").read_text() == before

    def test_fit_prints_one_line_per_problem(
        self, csv_table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        images = csv_table.parent
        (images / "test" / "green" / "000.png").write_bytes(
            (images / "train" / "green" / "000.png").read_bytes()
        )
        for k in range(4):
            (images / "test" / "red" / f"{k:03d}.png").unlink()
        command = ["fit", "--data", str(images), "--run_dir", str(tmp_path / "run"), *TINY_RUN]
        (images / "test" / "red").rmdir()
        assert main([*command, "--trainer.max_epochs", "1"]) == 0
        output = capsys.readouterr().out
        lines = [line for line in output.splitlines() if line.startswith("check ")]
        assert any("test has no images of 1 class (red)" in line for line in lines)
        assert any("in more than one split" in line for line in lines)

    def test_check_accepts_a_table(
        self, csv_table: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (csv_table.parent / "train" / "red" / "003.png").write_bytes(b"not an image")
        assert main(["check", str(csv_table)]) == 1
        output = capsys.readouterr().out
        assert "24 train, 8 test images of 2 classes" in output
        assert "train/red/003.png: is not an image" in output


class TestClassBalance:
    @pytest.fixture
    def imbalanced(self, tmp_path: Path) -> Path:
        write_images(tmp_path / "set" / "red", 60, 0)
        write_images(tmp_path / "set" / "green", 6, 1)
        return tmp_path / "set"

    def data(self, folder: Path, balance: bool | None) -> ImageDataModule:
        from vision_attn.data.sources.image_folder import ImageFolder

        source = ImageFolder(str(folder))
        return ImageDataModule(
            source, batch_size=8, image_size=32, val_fraction=0.1, balanced_sampling=balance
        )

    def epoch_targets(self, data: ImageDataModule) -> list[int]:
        return torch.cat([targets for _, targets in data.train_dataloader()]).tolist()

    def test_classes_are_sampled_equally_often(self, imbalanced: Path) -> None:
        data = self.data(imbalanced, None)
        counts = Counter(t for _ in range(12) for t in self.epoch_targets(data))
        assert data.balanced_sampling
        assert 0.8 < counts[0] / counts[1] < 1.25
        assert "(12:1): sampled equally often" in data.describe_balance()
        # Epochs are as long as without balancing, except for the dropped last batch.
        assert sum(counts.values()) == 12 * 48

    def test_balanced_sampling_switched_off_or_not_needed(
        self, imbalanced: Path, image_root: Path
    ) -> None:
        off = self.data(imbalanced, False)
        assert Counter(self.epoch_targets(off))[1] > 40
        assert "sampled as they are" in off.describe_balance()
        balanced = self.data(image_root, None)
        assert not balanced.balanced_sampling
        assert balanced.describe_balance() == ""
        assert self.data(image_root, True).balanced_sampling

    def test_the_seed_determines_every_draw(self, imbalanced: Path) -> None:
        first, again, other = [], [], []
        for seed, draws in ((3, first), (3, again), (4, other)):
            torch.manual_seed(seed)
            draws += self.epoch_targets(self.data(imbalanced, None))
        assert first == again
        assert first != other

    def test_the_choice_is_printed_and_recorded(
        self, imbalanced: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for name, extra, message, recorded in (
            ("auto", [], ": sampled equally often", True),
            ("off", ["--data.balanced_sampling", "false"], "sampled as they are", False),
        ):
            run = tmp_path / name
            command = ["fit", "--data", str(imbalanced), "--run_dir", str(run), *TINY_RUN, *extra]
            assert main([*command, "--trainer.max_epochs", "1"]) == 0
            assert message in capsys.readouterr().out
            assert (
                yaml.safe_load((run / "config.yaml").read_text())["data"]["balanced_sampling"]
                is recorded
            )
