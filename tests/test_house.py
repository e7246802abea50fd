"""Who may import whom, read from the imports; and files that stay small."""

import ast
from pathlib import Path

import vision_attn

PACKAGE = Path(vision_attn.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

MAY_IMPORT = {
    "errors": set(),
    "cli": {"errors", "whole"},
    "catalog": {"errors"},
    "upsampling": set(),
    "cells": set(),
    "progress": set(),
    "strides": set(),
    "airbench": set(),
    "deletion": {"cells"},
    "backbone": {"airbench", "errors", "strides"},
    "pooling": {"errors", "pooling"},
    "data": {"errors", "data"},
    "checks": {"errors", "checks", "data"},
    "model": {"errors", "backbone", "pooling"},
    "explaining": {
        "catalog",
        "errors",
        "explainers",
        "explanation",
        "model",
        "pooling",
        "prediction",
    },
    "explainers": {"cells", "errors", "explainers", "model"},
    "metrics": {"cells", "errors", "metrics", "model", "upsampling"},
    "marks": {"pooling"},
    "overlay": {"marks", "pooling", "upsampling"},
    "chart": set(),
    "scoreboard": set(),
    "evaluation": {"errors", "explainers", "metrics"},
    "balanced_accuracy": set(),
    "losses": {"cells", "deletion"},
    "length": {"strides"},
    "networks": set(),
    "grids": {"backbone", "errors"},
    "task": {
        "errors",
        "backbone",
        "deletion",
        "fusing",
        "grids",
        "losses",
        "model",
        "networks",
        "pooling",
        "schedules",
        "scores",
    },
    "fusing": set(),
    "schedules": set(),
    "prediction": set(),
    "explanation": {"data", "overlay", "pooling", "prediction", "whole"},
    "trained": {"data", "errors", "explaining", "explanation", "model", "prediction", "run"},
    "table": {"errors", "prediction"},
    "bounds": {"errors"},
    "whole": {"errors"},
    "torch_files": set(),
    "run": {"errors", "backbone", "bounds", "catalog", "model", "pooling", "torch_files", "whole"},
    "weights": {"errors", "run"},
    "randomness": {"data"},
    "checkpoints": {"errors", "torch_files", "whole"},
    "divergence": {"errors"},
    "environment": {"data"},
    "averaging": {"errors"},
    "compiling": set(),
    "keeper": {"averaging", "data", "model", "run"},
    "hub_page": {"run"},
    "hub": {"hub_page", "model", "run"},
    "export": {"errors", "export", "hub", "model", "run", "whole"},
    "one_against_rest": set(),
    "scores": {"balanced_accuracy", "one_against_rest"},
    "watching": {"data", "model", "overlay"},
    "choices": set(),
    "report": {
        "data",
        "errors",
        "evaluation",
        "explainers",
        "leaks",
        "metrics",
        "model",
        "overlay",
        "report",
        "run",
        "scores",
        "whole",
    },
    "leaks": {"checks", "data"},
    "composition": {"errors", "catalog", "data", "pooling"},
    "training": {
        "averaging",
        "checkpoints",
        "compiling",
        "composition",
        "data",
        "length",
        "errors",
        "progress",
        "randomness",
        "run",
        "task",
    },
}
HEAVY_ONLY_IN = {
    "timm": {"airbench", "backbone"},
    "captum": {"explainers", "metrics", "overlay"},
    "huggingface_hub": {"hub"},
    "jinja2": {"report"},
    "onnx": {"export"},
    "onnxruntime": {"export"},
    "pyarrow": {"data", "table"},
    "scipy": {"metrics"},
    "matplotlib": {"chart", "explanation", "marks", "overlay", "report"},
    "lightning": {
        "averaging",
        "checkpoints",
        "compiling",
        "data",
        "divergence",
        "keeper",
        "progress",
        "randomness",
        "task",
        "training",
        "watching",
    },
}


def room(module: str) -> str:
    """`vision_attn.pooling.base` and `vision_attn.model` as `pooling` and `model`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def imports(path: Path) -> set[str]:
    """Every module that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def name_of(path: Path) -> str:
    return ".".join(["vision_attn", *path.relative_to(PACKAGE).with_suffix("").parts])


def test_rooms_import_only_what_they_may() -> None:
    wrong = []
    for path in FILES:
        here = room(name_of(path))
        if here in ("commands", "__main__", "__init__"):
            continue  # doors may use everything
        ours = {room(module) for module in imports(path) if module.startswith("vision_attn.")}
        wrong += [f"{path.name} imports {other}" for other in ours - MAY_IMPORT[here]]
    assert not wrong


def test_a_concept_does_not_know_its_neighbours() -> None:
    """A concept imports its base; a few are made of others."""
    made_of_others = {
        "vision_attn.pooling.global_local": {"global_attention", "local_gaussian"},
        "vision_attn.data.cifar100": {"cifar10"},
        "vision_attn.data.recorded": {"image_table"},
        "vision_attn.explainers.contrast": {"evidence"},
    }
    helpers = {
        "base",
        "regions",
        "perturbation",
        "imputation",
        "thresholds",
        "combining",
        "ranks",
        "truth",
        "augment",
        "augmentations",
        "splitting",
        "store",
        "reader",
        "listing",
        "ahead",
        "download",
        "module",
        "parity",
        "program",
        "balance",
        "files",
        "order",
        "cache",
        "decoding",
    }
    wrong = []
    for path in FILES:
        name = name_of(path)
        if room(name) not in ("pooling", "data", "explainers", "metrics", "export"):
            continue
        same = {
            m.split(".")[2] for m in imports(path) if m.startswith(f"vision_attn.{room(name)}.")
        }
        wrong += [f"{name}: {m}" for m in same - helpers - made_of_others.get(name, set())]
    assert not wrong


def test_libraries_stay_in_their_rooms() -> None:
    wrong = []
    for path in FILES:
        here = room(name_of(path))
        for module in imports(path):
            allowed = HEAVY_ONLY_IN.get(module.split(".")[0])
            if allowed is not None and here not in allowed:
                wrong.append(f"{path.name} imports {module}")
    assert not wrong


def test_files_stay_small() -> None:
    sizes = {path.name: len(path.read_text().splitlines()) for path in FILES}
    assert {name: size for name, size in sizes.items() if size > 350} == {}
    assert sorted(sizes.values())[len(sizes) // 2] < 150


def test_every_room_has_an_empty_init() -> None:
    rooms = ("commands", "checks", "pooling", "data", "explainers", "metrics", "export", "report")
    assert all((PACKAGE / name / "__init__.py").read_text() == "" for name in rooms)
