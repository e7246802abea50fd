"""Tables as people have them: what each column is taken for, and what is said about it."""

import csv
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import write_images
from vision_attn.core.errors import UserError
from vision_attn.data.sources.image_table import ImageTable
from vision_attn.data.sources.table_columns import (
    LABEL_NAMES,
    PATH_NAMES,
    SPLIT_NAMES,
    find_columns,
    plain,
)

Capture = pytest.CaptureFixture[str]
Rows = Sequence[Sequence[object]]
MEANT = {"train": 6, "val": 2, "test": 2}  # images per class


@pytest.fixture
def rows(tmp_path: Path) -> list[tuple[str, str, str]]:
    """Path, class and split of the images of two classes, which exist."""
    found = []
    for color, name in enumerate(("cat", "dog")):
        write_images(tmp_path / "img" / name, 10, color)
        splits = [split for split, count in MEANT.items() for _ in range(count)]
        found += [(f"img/{name}/{k:03d}.png", name, split) for k, split in enumerate(splits)]
    return found


def write(path: Path, head: Sequence[str], rows: Rows, **options: str) -> str:
    encoding = options.pop("encoding", "utf-8")
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file, **options).writerows([head, *rows])  # type: ignore[arg-type]
    return str(path)


def made(path: Path, head: Sequence[str], rows: Rows, **options: str) -> ImageTable:
    """A source of a table with this header and these rows."""
    return ImageTable(write(path, head, rows, **options))


def sizes(source: ImageTable) -> dict[str, int]:
    """Images per class of each split."""
    return {name: len(split) // 2 for name, split in source.splits().items()}


class TestSplits:
    @pytest.mark.parametrize(
        "head", ["split", "Split", "SPLIT", " split", "set", "Set", "subset", "partition",
                 "Data Set",
                 "fold", "usage"],
    )  # fmt: skip
    def test_names_of_the_column(self, head: str, rows: Rows, tmp_path: Path) -> None:
        name = "dataset" if head == "Data Set" else head
        assert sizes(made(tmp_path / "t.csv", ("path", "label", name), rows)) == MEANT

    @pytest.mark.parametrize(
        ("train", "val", "test"),
        [("Train", "Valid", "Test"), ("training", "dev", "testing"),
         ("TRAIN", "validation", "holdout"),
         (" train", "val ", " Test ")],
    )  # fmt: skip
    def test_values(self, train: str, val: str, test: str, rows: Rows, tmp_path: Path) -> None:
        said = {"train": train, "val": val, "test": test}
        named = [(path, label, said[str(split)]) for path, label, split in rows]
        table = write(tmp_path / "t.csv", ("path", "label", "split"), named)
        assert sizes(ImageTable(table)) == MEANT

    @pytest.mark.parametrize(
        ("yes", "no"), [("True", "False"), ("1", "0"), ("yes", "no"), ("TRUE", "")]
    )
    @pytest.mark.parametrize("name", ["is_valid", "Is Valid", "is_test"])
    def test_yes_and_no(self, name: str, yes: str, no: str, rows: Rows, tmp_path: Path) -> None:
        named = [(path, label, no if split == "train" else yes) for path, label, split in rows]
        source = ImageTable(write(tmp_path / "t.csv", ("path", "label", name), named))
        held_out = "test" if name == "is_test" else "val"
        assert sizes(source) == {"train": 6, held_out: 4}

    def test_numbered_folds_are_no_splits(
        self, rows: Rows, tmp_path: Path, capsys: Capture
    ) -> None:
        named = [(path, label, k % 5) for k, (path, label, _) in enumerate(rows)]
        source = ImageTable(write(tmp_path / "t.csv", ("path", "label", "fold"), named))
        assert sizes(source) == {"train": 10}
        said = "the column 'fold' is not used: 0, 1, 2, 3, 4 name no train, val or test images"
        printed = capsys.readouterr().out
        assert said in printed
        assert "splits from" not in printed

    def test_a_column_that_is_typed_must_exist(self, rows: Rows, tmp_path: Path) -> None:
        table = write(tmp_path / "t.csv", ("path", "label", "split"), rows)
        with pytest.raises(UserError, match="no column 'subset'.*It has: path, label, split"):
            ImageTable(table, split_column="subset")

    def test_unknown_values_of_a_column_called_split(self, rows: Rows, tmp_path: Path) -> None:
        named = [*rows[:-1], (*rows[-1][:2], "tset")]
        table = write(tmp_path / "t.csv", ("path", "label", "split"), named)
        with pytest.raises(UserError, match="unknown split 'tset'.*Did you mean 'test'"):
            ImageTable(table)

    def test_the_default_of_older_runs_may_be_missing(self, rows: Rows, tmp_path: Path) -> None:
        table = write(tmp_path / "t.csv", ("path", "label"), [row[:2] for row in rows])
        assert sizes(ImageTable(table, split_column="split", label_column="label")) == {"train": 10}


class TestPathsAndClasses:
    @pytest.mark.parametrize("path", ["path", "File Name", "image_path", "filepath", "image", "ID"])
    @pytest.mark.parametrize("label", ["label", "Class", "category", "Species", "target"])
    def test_usual_names(
        self, path: str, label: str, rows: Rows, tmp_path: Path, capsys: Capture
    ) -> None:
        table = write(tmp_path / "t.csv", ("", path, label, "split"), [(1, *row) for row in rows])
        source = ImageTable(table)
        assert sizes(source) == MEANT
        assert source.class_names == ["cat", "dog"]
        said = f"files from the column '{path}', classes from '{label}', splits from 'split'"
        assert (said in capsys.readouterr().out) == ((path, label) != ("path", "label"))

    def test_the_path_wins_over_the_number(self, rows: Rows, tmp_path: Path) -> None:
        table = write(
            tmp_path / "t.csv",
            ("id", "label", "path"),
            [(1, label, path) for path, label, _ in rows],
        )
        assert sizes(ImageTable(table)) == {"train": 10}

    def test_backslashes_of_windows(self, rows: Rows, tmp_path: Path) -> None:
        named = [(str(path).replace("/", "\\"), *rest) for path, *rest in rows]
        assert sizes(made(tmp_path / "t.csv", ("path", "label", "split"), named)) == MEANT

    @pytest.mark.parametrize("ending", [".png", ".PNG", ".jpg"])
    def test_paths_without_ending(self, ending: str, rows: Rows, tmp_path: Path) -> None:
        for path in tmp_path.rglob("*.png"):
            path.rename(path.with_suffix(ending))
        named = [(str(path)[:-4], *rest) for path, *rest in rows]
        assert sizes(made(tmp_path / "t.csv", ("id", "label", "split"), named)) == MEANT

    def test_a_path_must_not_lead_out_in_any_of_these_ways(
        self, rows: Rows, tmp_path: Path
    ) -> None:
        write_images(tmp_path / "secret", 1, 0)
        (tmp_path / "data").mkdir()
        for path in ("..\\secret\\000.png", "../secret/000", "..\\secret\\000"):
            table = write(
                tmp_path / "data" / "t.csv", ("path", "label"), [(path, "a"), (path, "b")]
            )
            with pytest.raises(UserError, match="leads out of"):
                ImageTable(table)


class TestFiles:
    @pytest.mark.parametrize("separator", [",", ";", "\t"])
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
    def test_what_spreadsheets_write(
        self, separator: str, encoding: str, rows: Rows, tmp_path: Path
    ) -> None:
        table = write(
            tmp_path / "t.csv", ("path", "label", "split"), rows, delimiter=separator,
            encoding=encoding,
        )  # fmt: skip
        assert sizes(ImageTable(table)) == MEANT

    @pytest.mark.parametrize("separator", [",", ";", "\t"])
    def test_the_first_line_of_excel(self, separator: str, rows: Rows, tmp_path: Path) -> None:
        table = tmp_path / "t.csv"
        write(table, ("path", "label", "split"), rows, delimiter=separator)
        table.write_text(f"sep={separator}\n{table.read_text()}")
        assert sizes(ImageTable(str(table))) == MEANT
        text = table.read_text().replace("img/cat/003.png", "", 1)
        table.write_text(text)
        with pytest.raises(UserError, match="line 6: the path is empty"):
            ImageTable(str(table))


def spelled(name: str) -> st.SearchStrategy[str]:
    """A name as people write it: with capitals, blanks around it, blanks for underscores."""
    forms = [name, name.upper(), name.title(), f" {name} ", name.replace("_", " ")]
    return st.sampled_from(forms)


@given(st.data())
def test_any_order_and_spelling(data: st.DataObject) -> None:
    """The usual columns are found among others, wherever they stand."""
    wanted = [data.draw(st.sampled_from(names)) for names in (PATH_NAMES, LABEL_NAMES, SPLIT_NAMES)]
    shown = [data.draw(spelled(name)) for name in wanted]
    usual = {*PATH_NAMES, *LABEL_NAMES, *SPLIT_NAMES, "is_valid", "is_val", "is_test"}
    others = data.draw(
        st.lists(st.text(max_size=9).filter(lambda name: plain(name) not in usual), max_size=4)
    )
    names = data.draw(st.permutations([*shown, *others]))
    found = find_columns("t.csv", names, None, None, None)
    assert [names[found.path], names[found.label], names[found.split or 0]] == shown
