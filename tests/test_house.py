"""Architecture tests: the layers of the package, its imports, and the size of its files.

A room is a folder (or a file) directly below `vision_attn/`. It may import only rooms of lower
floors (layers).
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import vision_attn

PACKAGE = Path(vision_attn.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

FLOORS = [
    {"core"},
    {"data", "pooling"},
    {"models"},
    {"explainers", "metrics", "visualization", "runs"},
    {"inference", "evaluation", "export"},
    {"training"},
    {"cli", "__init__", "__main__"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS, 1) for room in rooms}

LIBRARIES = {
    "timm": {"models"},
    "captum": {"explainers", "metrics", "visualization"},
    "huggingface_hub": {"export", "models"},
    "jinja2": {"evaluation"},
    "onnx": {"export"},
    "onnxruntime": {"export"},
    "pyarrow": {"data", "inference"},
    "scipy": {"metrics", "visualization"},
    "sklearn": {"training"},
    "matplotlib": {"evaluation", "inference", "visualization"},
    "lightning": {"data", "training"},
}
"""Third-party libraries that only these rooms may import."""


def module_of(path: Path, package: Path = PACKAGE) -> str:
    """The module name of a file: `vision_attn/pooling/base.py` is `vision_attn.pooling.base`."""
    parts = path.relative_to(package).with_suffix("").parts
    return ".".join(["vision_attn", *parts]).removesuffix(".__init__")


def imported_modules(path: Path) -> Iterator[str]:
    """Every module that a file imports, including imports in functions and for type checking.

    `from vision_attn.data import split` gives `vision_attn.data.split`, because an imported name
    may be a module of the package.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(module: str) -> str:
    """The room of a module of this package: `vision_attn.pooling.base` is in `pooling`."""
    parts = module.split(".")
    room = parts[1] if len(parts) > 1 else "__init__"
    return room if room in FLOOR else "__init__"  # a name defined in the package itself


def upward_imports(files: list[Path], package: Path = PACKAGE) -> list[str]:
    """The imports of rooms that are not on a lower floor."""
    violations = []
    for path in files:
        here = room_of(module_of(path, package))
        for module in imported_modules(path):
            if module.split(".")[0] != "vision_attn" or room_of(module) == here:
                continue
            if (here, room_of(module)) == ("__main__", "cli"):  # for `python -m vision_attn`
                continue
            if FLOOR[room_of(module)] >= FLOOR[here]:
                violations.append(f"{path.relative_to(package)} imports {module}")
    return violations


def test_rooms_import_only_lower_floors() -> None:
    assert upward_imports(FILES) == []


@pytest.mark.parametrize(
    "line",
    [
        "from vision_attn.cli.main import main",
        "from vision_attn import cli",
        "import vision_attn.cli.main",
        "from vision_attn import __version__",
        "def f():\n    from vision_attn.training.task import ClassificationTask",
        "from vision_attn.export.base import Exporter",
    ],
)
def test_it_detects_a_violation(line: str, tmp_path: Path) -> None:
    violation = tmp_path / "vision_attn" / "evaluation" / "violation.py"
    violation.parent.mkdir(parents=True)
    violation.write_text(line + "\n")
    assert len(upward_imports([violation], tmp_path / "vision_attn")) == 1


def test_the_number_of_rooms_and_floors_is_limited() -> None:
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in FILES}
    assert rooms == set(FLOOR)
    assert len(rooms) <= 16
    assert len(FLOORS) <= 7
    visible = [path for path in PACKAGE.iterdir() if path.name != "__pycache__"]
    assert len(visible) <= 17


def own_imports() -> dict[str, set[str]]:
    """Each module of the package with the modules of the package that it imports."""
    modules = {module_of(path) for path in FILES}
    found: dict[str, set[str]] = {}
    for path in FILES:
        names = set(imported_modules(path))
        parents = {name.rpartition(".")[0] for name in names}
        found[module_of(path)] = (names | parents) & modules - {module_of(path)}
    return found


def test_no_circular_imports() -> None:
    left = own_imports()
    while left:
        free = {name for name, needs in left.items() if not needs & set(left)}
        assert free, f"circular imports among {sorted(left)}"
        left = {name: needs for name, needs in left.items() if name not in free}


def test_concepts_do_not_import_each_other() -> None:
    """A concept imports its base; a few are composed of other concepts."""
    composed = {
        "vision_attn.pooling.global_local": {"global_attention", "local_gaussian"},
        "vision_attn.pooling.two_stages": {"global_local"},
        "vision_attn.data.sources.cifar100": {"cifar10"},
        "vision_attn.explainers.contrast": {"evidence"},
    }
    for folder in ("pooling", "data/sources", "data/checks", "explainers", "metrics/explanation"):
        concepts = concepts_in(PACKAGE / folder)
        for name in concepts:
            module = f"vision_attn.{folder.replace('/', '.')}.{name}"
            here = module.rpartition(".")[0]
            same = {other for other in own_imports()[module] if other.rpartition(".")[0] == here}
            others = {other.rpartition(".")[2] for other in same} & concepts
            assert others <= composed.get(module, set()), module


def concepts_in(folder: Path) -> set[str]:
    """The file names of the concepts in a folder: files with a subclass of a class in `base.py`."""
    base = [
        node.name
        for node in ast.parse((folder / "base.py").read_text()).body
        if isinstance(node, ast.ClassDef)
    ]
    return {
        path.stem
        for path in folder.glob("*.py")
        if path.stem != "base"
        and any(
            isinstance(node, ast.ClassDef) and {ast.unparse(b) for b in node.bases} & set(base)
            for node in ast.parse(path.read_text()).body
        )
    }


def test_libraries_stay_in_their_rooms() -> None:
    for path in FILES:
        here = room_of(module_of(path))
        for module in imported_modules(path):
            allowed = LIBRARIES.get(module.split(".")[0])
            assert allowed is None or here in allowed, f"{path} imports {module}"


def test_files_stay_small() -> None:
    sizes = {path.name: len(path.read_text().splitlines()) for path in FILES}
    assert {name: size for name, size in sizes.items() if size > 350} == {}
    written = sorted(size for size in sizes.values() if size)
    assert 50 <= written[len(written) // 2] <= 150


def test_packages_have_an_empty_init() -> None:
    for folder in {path.parent for path in FILES} - {PACKAGE}:
        assert (folder / "__init__.py").read_text() == "", folder


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function of a file, at any depth."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)]


def test_any_stands_for_few_parameters_and_results() -> None:
    untyped = []
    for path in FILES:
        for function in functions(path):
            arguments = function.args
            given = [*arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
            types = [argument.annotation for argument in given if argument is not None]
            if any(isinstance(t, ast.Name) and t.id == "Any" for t in (*types, function.returns)):
                untyped.append(f"{path.name}: {function.name}")
    assert len(untyped) <= 10, untyped


def test_commands_import_little_when_they_run() -> None:
    for path in (PACKAGE / "cli").glob("*.py"):
        imports = {
            id(node)
            for function in functions(path)
            for node in ast.walk(function)
            if isinstance(node, (ast.Import, ast.ImportFrom))
        }
        assert len(imports) <= 2, path


READERS = {
    "core/json_file.py": {"json.loads"},
    "core/torch_files.py": {"torch.load"},
    "data/sources/table_jsonl.py": {"json.loads"},  # a row of a table
    "data/sources/table_parquet.py": {"ParquetFile"},
    "inference/prediction_table.py": {"json.loads"},  # a row of predictions
    "runs/yaml_file.py": {"yaml.SafeLoader"},
    "training/auto_settings.py": {"yaml.safe_dump"},
    "training/processes/start.py": {"json.loads"},  # what the processes of a training share
    "training/lightning_cli.py": {"yaml.safe_load"},  # of settings in memory
    "training/overrides.py": {"yaml.safe_load"},  # of the command line
}
"""The files that parse YAML, JSON, pickles and Parquet; others use them."""


def parser_calls(path: Path) -> set[str]:
    """The calls in a file that parse files of a kind that has a reader, or that unpickle."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    names = {ast.unparse(call.func) for call in calls}
    kinds = ("yaml.", "pickle.", "marshal.", "shelve.", "dill.", "joblib.")
    loads = {"json.load", "json.loads", "torch.load", "np.load", "torch.jit.load", "ParquetFile"}
    return {name for name in names if name.startswith(kinds) or name in loads}


def test_untrusted_files_are_read_in_one_place_per_kind() -> None:
    found = {str(path.relative_to(PACKAGE)): parser_calls(path) for path in FILES}
    assert {path: calls for path, calls in found.items() if calls} == READERS


def test_it_detects_another_reader(tmp_path: Path) -> None:
    (tmp_path / "new.py").write_text("import torch\nx = torch.load('x', weights_only=False)\n")
    assert parser_calls(tmp_path / "new.py") == {"torch.load"}
