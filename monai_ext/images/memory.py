"""How much memory the segmentation of an image takes, told from its header."""

from collections.abc import Sequence
from math import prod

BYTES = 4
"""Of a float32."""
GIGABYTE = 1e9


def needed_gb(
    shape: Sequence[int], network_shape: Sequence[int], channels: int = 1, classes: int = 2
) -> float:
    r"""Memory at the peak of a segmentation on the CPU, in GB, without what the program takes by itself.

    .. math:: 4 \cdot 10^{-9} \, \big( (4 C + 10) V + 2 (C + K) N \big)

    The peak is where the image is smoothed before it is made smaller. The factors were fitted to measured
    peaks of images of one and of three channels.

    Args:
        shape: of the image, V voxels.
        network_shape: of what the network sees, N voxels.
        channels: C, of the network's image.
        classes: K.
    """
    volumes = (4 * channels + 10) * prod(shape)
    return BYTES * (volumes + 2 * (channels + classes) * prod(network_shape)) / GIGABYTE
