"""The version of the package, imported without anything else."""

__version__ = "0.1.0"
