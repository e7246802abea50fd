"""The interface of an image source: class names, and splits whose images are read one by one."""

from abc import ABC, abstractmethod

from vision_attn.data.split import Split


class ImageSource(ABC):
    """Where images come from. A new data set is one file with one subclass.

    Attributes:
        class_names: the classes of the training images, in the order of the logits.
        natural_size: the usual length of an image's shorter side, in pixels.
    """

    class_names: list[str]
    natural_size: int

    @abstractmethod
    def splits(self) -> dict[str, Split]:
        """The splits there are, of "train", "val" and "test".

        Raises:
            UserError: the images are not there, or not as they should be.
        """
