"""Default batch size and image size, from the images and the machine."""

SMALLEST_BATCH = 16


def default_batch_size(image_size: int, images: int) -> int:
    """Default batch size: 128 for small images, less for larger ones or for small data sets.

    A data set of at least 512 images gives at least 32 steps per epoch. Smaller ones have fewer, of
    16 images: batch normalization computes means and variances per batch, and those of fewer images
    are too noisy to learn with (Wu and He 2018, arXiv 1803.08494, figure 1).

    >>> default_batch_size(32, 50_000), default_batch_size(224, 50_000), default_batch_size(96, 800)
    (128, 32, 25)
    >>> default_batch_size(288, 222)
    16
    """
    largest = 128 if image_size <= 64 else 64 if image_size <= 128 else 32
    return min(largest, max(images // 32, SMALLEST_BATCH)) if images else largest


def default_image_size(natural_size: int, accelerated: bool) -> int:
    """Default image size: the multiple of 32 nearest to the images' own size, from 32 to 224.

    Without a GPU the maximum is 128: an image of 224 pixels takes three times as long, so in the
    same time the model would see a third as many.

    >>> [default_image_size(pixels, accelerated=True) for pixels in (28, 64, 100, 500)]
    [32, 64, 96, 224]
    >>> default_image_size(500, accelerated=False)
    128
    """
    return min(max(round(natural_size / 32) * 32, 32), 224 if accelerated else 128)
