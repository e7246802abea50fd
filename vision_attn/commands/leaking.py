"""Whether validation images look like training images, which makes every score too good."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what is heavy is imported where it is used
    from vision_attn.checks.alike import Bytes

MOST = 20_000  # images that are compared in a few seconds; larger sets are for `check`
AT_ONCE = 500


def leak(data: Any) -> str:
    """A line on validation images that look the same as a training image, or nothing.

    Only images that are in memory anyway are compared, by the thumbnails that `check` compares,
    made of them as they are trained on. A re-encoded copy is found, and so is another shot of one
    scene, where the two are nearly equal; shots from another side are not.
    """
    from vision_attn.checks.alike import groups_of_alike
    from vision_attn.data.store import InMemory

    stores = [data.stores.get(name) for name in ("train", "val")]
    if not all(isinstance(store, InMemory) for store in stores) or sum(map(len, stores)) > MOST:
        return ""
    import numpy as np

    train, val = stores
    groups = groups_of_alike(np.concatenate([thumbnails(train), thumbnails(val)]))
    apart = [[place for place in group if place >= len(train)] for group in groups]
    known = sum(len(own) for own, group in zip(apart, groups, strict=True) if len(own) < len(group))
    return told(known, len(val))


def told(known: int, count: int) -> str:
    """What is said.

    >>> told(0, 40)
    ''
    >>> told(3, 40)[:62]
    '3 of 40 validation images look the same as a training image. S'
    """
    if not known:
        return ""
    return (
        f"{known} of {count} validation images look the same as a training image. Scores are too "
        "good if they show the same thing: `vision-attn check` names them, and a table "
        "(--data table.csv) can keep them in one split."
    )


def thumbnails(store: Any) -> "Bytes":
    """Grey pictures (N, 9, 9) of a store's images."""
    from torch import cat
    from torch.nn.functional import interpolate

    from vision_attn.checks.reading import SIDE

    small = []
    for start in range(0, len(store), AT_ONCE):
        images, _ = store.__getitems__(list(range(start, min(start + AT_ONCE, len(store)))))
        grey = images.float().mean(1, keepdim=True)
        small.append(interpolate(grey, (SIDE, SIDE), mode="bilinear", antialias=True).squeeze(1))
    found: Bytes = cat(small).round().byte().numpy()
    return found
