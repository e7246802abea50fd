"""CIFAR-100, downloaded and checksummed by torchvision."""

from torchvision import datasets

from vision_attn.data.sources.cifar10 import Cifar10
from vision_attn.data.sources.download import CACHE


class Cifar100(Cifar10):
    """60,000 color images of 32x32 pixels in 100 classes (Krizhevsky 2009).

    Args:
        root: the folder that holds the archive, or that it is downloaded to.
    """

    dataset = datasets.CIFAR100

    def __init__(self, root: str = str(CACHE)) -> None:
        super().__init__(root)
        self.class_names = CLASSES.split()


CLASSES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup
dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower
leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid
otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray
road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
wardrobe whale willow_tree wolf woman worm
"""
