"""Download pretrained weights from timm's hub; a hub out of reach costs seconds and one line."""

import queue
import threading
from pathlib import Path

import timm
from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import EntryNotFoundError
from timm.models import PretrainedCfg

from vision_attn.core.errors import first_line

SECONDS = 4.0  # until the hub counts as out of reach; also if the name server does not answer
FILES = ("model.safetensors", "pytorch_model.bin")
"""Names of a weights file in timm's repositories, in the order in which timm looks for them."""


class HubError(Exception):
    """The hub has no weights for a network, or cannot be reached."""


def repository(network: str) -> tuple[str, str | None] | None:
    """The repository of a network's weights on the hub, and its revision; None if it has none.

    >>> repository("resnet18.a1_in1k"), repository("airbench")
    (('timm/resnet18.a1_in1k', None), None)
    """
    config: PretrainedCfg | None = timm.get_pretrained_cfg(network)
    if config is None or not config.hf_hub_id:
        return None
    name, _, revision = config.hf_hub_id.partition("@")
    return name, revision or None


def download(network: str) -> Path:
    """Download the weights of a network into the hub's local cache; the path of the file.

    Raises:
        HubError: the hub has no such weights, cannot be reached, or the user keeps it off.
    """
    found = repository(network)
    if found is None:
        raise HubError(f"timm's hub has no weights for {network}")
    check_reachable(*found)
    name, revision = found
    for file in FILES:
        try:
            return Path(hf_hub_download(name, file, revision=revision, etag_timeout=SECONDS))
        except EntryNotFoundError:
            continue
        except Exception as error:  # of its HTTP client, of the file system, of the hub
            raise HubError(f"{name} cannot be downloaded ({first_line(error)[:120]})") from error
    raise HubError(f"{name} on timm's hub has no weights that can be read")


def check_reachable(name: str, revision: str | None = None) -> None:
    """Ask the hub for a file's size, and wait a few seconds for the answer.

    The question is asked in a thread, since the search for a host's address takes no time limit.

    Raises:
        HubError: there is no answer, or `HF_HUB_OFFLINE` is set.
    """
    if constants.HF_HUB_OFFLINE:
        raise HubError("timm's hub is not asked, since HF_HUB_OFFLINE is set")
    answers: queue.Queue[Exception | None] = queue.Queue()

    def ask() -> None:
        try:
            url = hf_hub_url(name, FILES[0], revision=revision)
            get_hf_file_metadata(url, timeout=SECONDS)
            answers.put(None)
        except EntryNotFoundError:  # the hub has answered
            answers.put(None)
        except Exception as error:  # of many kinds, depending on its HTTP client
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        error = answers.get(timeout=SECONDS)
    except queue.Empty:
        error = TimeoutError(f"no answer within {SECONDS:g} seconds")
    if error is not None:
        reason = first_line(error)[:120]
        raise HubError(f"timm's hub cannot be reached ({reason})") from error
