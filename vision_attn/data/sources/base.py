"""The interface of an image source (data set): class names, and splits of images."""

from abc import ABC, abstractmethod

from vision_attn.data.split import Split


class ImageSource(ABC):
    """Base class of image sources. A new data set is one file with one subclass.

    Attributes:
        class_names: the classes of the training images, in the order of the logits.
        natural_size: the usual length of an image's shorter side, in pixels.
        is_synthetic: whether images are drawn by a program, so that features learned from
            photographs are of little use.
    """

    class_names: list[str]
    natural_size: int
    is_synthetic: bool = False

    @abstractmethod
    def splits(self) -> dict[str, Split]:
        """The available splits, by name: any of "train", "val" and "test".

        Raises:
            UserError: the images are missing or invalid.
        """

    def column(self, name: str) -> dict[str, str] | None:
        """The values of a column, by the path of the image; None if there is no such column."""
        return None
