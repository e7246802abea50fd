"""Settings that a library refuses, early or late, end in one line."""

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import fit_from_file
from tests.test_untrusted import refused

CASES: dict[str, tuple[dict[str, Any], str]] = {
    "an optimizer without groups": ({"model": {"optimizer": "LBFGS"}}, "LBFGS doesn't support"),
    "a seed that numpy refuses": ({"seed_everything": 10**40}, "--seed_everything must be"),
    "no such score": (
        {
            "trainer": {
                "callbacks": {"class_path": "EarlyStopping", "init_args": {"monitor": "no/score"}}
            }
        },
        "no/score",
    ),
    "a metric that is not logged": (
        {
            "trainer": {
                "callbacks": {
                    "class_path": "ModelCheckpoint",
                    "init_args": {"monitor": "no/score", "save_top_k": 2},
                }
            }
        },
        "no/score",
    ),
    "a value that a callback refuses": (
        {
            "trainer": {
                "callbacks": {
                    "class_path": "StochasticWeightAveraging",
                    "init_args": {"swa_lrs": -1.0},
                }
            }
        },
        "swa_lrs",
    ),
}


@pytest.mark.parametrize(("config", "message"), CASES.values(), ids=CASES)
def test_refused(
    config: dict[str, Any],
    message: str,
    image_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(fit_from_file(config, image_root), capsys, message)
