"""License and origin of pretrained weights: what is recorded of them, and told."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import timm

MOST_CHARACTERS = 300  # of a text in a record, which can come from an untrusted file
PERMISSIVE = ("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc-by-4.0", "cc0-1.0")
NON_COMMERCIAL = re.compile(
    r"(^|[-_ ])nc($|[-_ ])|non-?commercial|research|apple-amlr|seer-license"
)
"""In names of licenses that forbid commercial use. Apple's `amlr` is for research only."""


@dataclass(frozen=True)
class WeightsRecord:
    """Which pretrained weights a model started from, as recorded in `model.json`.

    Attributes:
        name: timm's name with its tag, or that of the user's file.
        source: where they were found, such as "timm's hub".
        license: the name of their license; empty if it is not known.
        origin: where they were published; empty if it is not known.
    """

    name: str
    source: str
    license: str = ""
    origin: str = ""


def record_from(content: Any) -> WeightsRecord | None:
    """Parse the record in a JSON file, which may be untrusted.

    Raises:
        ValueError: it is not a record, or a text in it is too long.

    >>> record_from({"name": "resnet18.a1_in1k", "source": "timm's hub", "license": "mit"}).license
    'mit'
    >>> record_from(None)
    """
    if content is None:
        return None
    known = {field.name for field in fields(WeightsRecord)}
    if not isinstance(content, Mapping) or not {"name", "source"} <= set(content) <= known:
        raise ValueError("invalid value: weights")
    if any(not isinstance(text, str) or len(text) > MOST_CHARACTERS for text in content.values()):
        raise ValueError("invalid value: weights")
    return WeightsRecord(**content)


def record_of(network: str, source: str, config: Mapping[str, Any] | None = None) -> WeightsRecord:
    """The record of a network's weights, from timm's description of them.

    Args:
        network: timm's name.
        source: where the weights were found.
        config: the description beside the user's own weights; None takes timm's.

    >>> record_of("resnet18", "timm's hub").name
    'resnet18.a1_in1k'
    """
    if config is None:
        found = timm.get_pretrained_cfg(network)
        config = found.to_dict() if found else {}
    tag = config.get("tag")
    hub = config.get("hf_hub_id")
    page = f"https://huggingface.co/{hub}" if hub else ""
    texts = {
        "name": f"{network.partition('.')[0]}.{tag}" if tag else network,
        "source": source,
        "license": config.get("license") or "",
        "origin": config.get("origin_url") or page or config.get("url") or "",
    }
    return WeightsRecord(**{key: str(text)[:MOST_CHARACTERS] for key, text in texts.items()})


def is_non_commercial(license_name: str) -> bool:
    """Whether a license forbids commercial use.

    >>> is_non_commercial("cc-by-nc-4.0"), is_non_commercial("apache-2.0")
    (True, False)
    """
    return NON_COMMERCIAL.search(license_name.lower()) is not None


def license_lines(record: WeightsRecord) -> Iterator[str]:
    """Lines on the license and the origin of weights, with a warning where use is restricted.

    >>> list(license_lines(WeightsRecord("a", "b", "cc-by-nc-4.0")))[1]
    'WARNING: the license cc-by-nc-4.0 forbids commercial use, also of models trained from it'
    """
    origin = f", from {record.origin}" if record.origin else ""
    yield f"license {record.license or 'not known'}{origin}"
    if is_non_commercial(record.license):
        yield (
            f"WARNING: the license {record.license} forbids commercial use, "
            "also of models trained from it"
        )
    elif record.license and record.license.lower() not in PERMISSIVE:
        yield f"read the license {record.license} before you publish a model trained from it"
