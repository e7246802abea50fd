"""Text from files on a terminal: on one line, without control characters; and no other `print`."""

import ast
import unicodedata
from pathlib import Path

import pytest

import vision_attn
from vision_attn.core.spreadsheet import text_cell
from vision_attn.core.terminal import printable, say, say_error

PACKAGE = Path(vision_attn.__file__).parent
Capture = pytest.CaptureFixture[str]

ESCAPED = {
    "\x1b[2Jred": "\\x1b[2Jred",
    "a\nvision-attn: forged": "a\\nvision-attn: forged",
    "a\tb\rc\x00\x7f": "a\\tb\\rc\\x00\\x7f",
    "\x9b31m\x85": "\\x9b31m\\x85",
    "a\u2028b\u2029": "a\\u2028b\\u2029",
    "\u202egnp.exe\u2069\u200f": "\\u202egnp.exe\\u2069\\u200f",
    "\udcff.png": "\\udcff.png",
    "[red]größe 猫 :smile: C:\\new": "[red]größe 猫 :smile: C:\\new",
}


@pytest.mark.parametrize(("text", "expected"), ESCAPED.items())
def test_printable(text: str, expected: str) -> None:
    assert printable(text) == expected
    assert printable(expected) == expected


def test_every_character_is_printable() -> None:
    """Whatever a name contains, the result is one line of UTF-8 with no control characters."""
    text = printable("".join(map(chr, range(0x110000))))
    text.encode()
    assert text.splitlines() == [text]
    assert not [char for char in text if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")]
    directions = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}
    assert not [char for char in text if unicodedata.bidirectional(char) in directions]


def test_only_some_characters_are_escaped() -> None:
    changed = [char for char in map(chr, range(0x110000)) if printable(char) != char]
    assert len(changed) == 33 + 32 + 2 + 3 + 5 + 4 + 2048  # see UNPRINTABLE, in its order
    assert all(unicodedata.category(char) in ("Cc", "Cs", "Cf", "Zl", "Zp") for char in changed)


def test_say_prints_one_line(capsys: Capture) -> None:
    say("images of \x1bred\n")
    say("left out, a\nb", error=True)
    assert capsys.readouterr() == ("images of \\x1bred\\n\n", "left out, a\\nb\n")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("no file a", "vision-attn: no file a\n"),
        ("a\nvision-attn: b", "vision-attn: a\n  vision-attn: b\n"),
        ("a\n\x1bb\nc\nd\u2028e", "vision-attn: a\n  \\x1bb\n  c\\nd\\u2028e\n"),
    ],
)
def test_an_error_takes_few_lines(message: str, expected: str, capsys: Capture) -> None:
    say_error(ValueError(message))
    assert capsys.readouterr() == ("", expected)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_formulas_are_text_in_a_spreadsheet(start: str) -> None:
    assert text_cell(f"{start}1") == f"'{start}1"
    assert text_cell(f"a{start}1") == f"a{start}1"
    assert text_cell("") == ""


def printing(path: Path) -> list[str]:
    """The calls of any `print` in a file, and its uses of `sys.stdout` and `sys.stderr`."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    calls = [ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call)]
    names = [ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)]
    streams = [name for name in names if name in ("sys.stdout", "sys.stderr")]
    return [name for name in calls if name.rpartition(".")[2] == "print"] + streams


def test_everything_is_printed_by_say() -> None:
    """Except for the tables of `evaluate`, whose cells are `rich.text.Text`.

    Two files ask whether standard output is a terminal.
    """
    found = {path.relative_to(PACKAGE).as_posix(): printing(path) for path in PACKAGE.rglob("*.py")}
    assert {name: uses for name, uses in found.items() if uses} == {
        "core/terminal.py": ["print", "sys.stderr", "sys.stdout"],
        "evaluation/evaluate.py": ["console.print"] * 3 + ["sys.stdout"],
        "training/lightning_cli.py": ["sys.stdout"],
    }
