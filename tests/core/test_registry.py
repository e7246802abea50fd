"""The registry: concepts by file name, with arguments, and suggestions."""

import sys
from pathlib import Path

import pytest

import vision_attn
from vision_attn.core.errors import UserError
from vision_attn.core.registry import (
    available,
    available_names,
    create_all,
    get_class,
    short_path,
    with_short_paths,
)
from vision_attn.explainers.base import Explainer
from vision_attn.explainers.contrast import Contrast
from vision_attn.explainers.grad_cam import GradCam
from vision_attn.pooling.base import Pooling

PACKAGE = Path(vision_attn.__file__).parent


@pytest.mark.parametrize(("base", "folder"), [(Explainer, "explainers"), (Pooling, "pooling")])
def test_names_without_importing_are_the_names(base: type, folder: str) -> None:
    assert available_names(PACKAGE / folder, base.__name__) == sorted(available(base))


def test_what_is_not_a_concept_is_not_offered() -> None:
    assert not {"base", "concatenate", "__init__"} & set(available(Pooling))


def test_arguments_after_a_colon() -> None:
    found = create_all(Explainer, ["contrast:grad_cam", "evidence"], "explainers")
    assert list(found) == ["contrast:grad_cam", "evidence"]
    contrast = found["contrast:grad_cam"]
    assert isinstance(contrast, Contrast)
    assert isinstance(contrast.of, GradCam)


def test_classes_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "from vision_attn.pooling.average import Average\n\n\nclass Mine(Average):\n    pass\n"
    (tmp_path / "of_the_user.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    mine = get_class(Pooling, "of_the_user.Mine")
    assert mine is sys.modules["of_the_user"].Mine
    assert short_path(Pooling, "of_the_user.Mine") == "of_the_user.Mine"


def test_nested_classes_by_short_names() -> None:
    average = {"class_path": "vision_attn.pooling.average.Average", "init_args": {}}
    both = {
        "class_path": "vision_attn.pooling.global_local.GlobalLocal",
        "init_args": {"global_pooling": average, "local_pooling": None},
    }
    assert with_short_paths(Pooling, both) == {
        "class_path": "global_local",
        "init_args": {
            "global_pooling": {"class_path": "average", "init_args": {}},
            "local_pooling": None,
        },
    }


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "explainers: no name is given"),
        (["evidence", "evidence"], "two of evidence, evidence have the same name"),
        (["evidnce"], "there is no explainer 'evidnce'. Did you mean 'evidence'"),
        (["centre"], "Did you mean 'center'"),
        (["os.path"], "is not a subclass of vision_attn.explainers.base.Explainer"),
    ],
)
def test_mistakes(names: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        create_all(Explainer, names, "explainers")
