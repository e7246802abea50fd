"""An image classifier that shows where it looked, and can prove it."""

__version__ = "0.1.0"
