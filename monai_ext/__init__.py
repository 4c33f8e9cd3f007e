"""Learn to segment from the labels people really have: what several MONAI bundles share."""

__version__ = "0.1.0"
