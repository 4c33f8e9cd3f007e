"""Words and numbers that every part of the package must agree on, said once."""

from enum import Enum

DATALIST = "datalist.json"
"""Name of the datalist in a prepared folder."""

UNLABELED = 255
"""Value of a voxel in a label map that nobody annotated; every loss and metric skips it."""


class Supervision(str, Enum):
    """What is known about one case. A datalist item holds the value, a batch the ``code``."""

    FULL = "full"
    """Every voxel is annotated."""
    PARTIAL = "partial"
    """Some voxels are annotated, the others are ``UNLABELED``."""
    TAGS = "tags"
    """Only the presence of each class in each slice is known."""
    NOISY = "noisy"
    """Every voxel is annotated, and some annotations are wrong."""
    NONE = "none"
    """There is no annotation."""

    @property
    def code(self) -> int:
        """Position in this enumeration: the integer that stands for the kind in a batch tensor."""
        return list(Supervision).index(self)


IMAGE = "image"
LABEL = "label"
LABEL_SHA256 = "label_sha256"
"""Optional SHA-256 of the label file's bytes, in hexadecimal digits: a changed file does not have it."""
PRED = "pred"
MAP_SUFFIX = "_map"
"""What stands behind the key of a mask in the key of the map that it was cut from."""
CAM_PREFIX = "cam_"
"""What stands before the name of a modality in the key of the map that its network alone gave."""
SUPERVISION = "supervision"
CASE = "case"
PATIENT = "patient"
REFERENCE = "reference"
"""Optional full mask of a case with weaker labels, such as a partial or noisy map or tags. `check` opens it,
training never does."""
TAGS = "tags"
"""One list for each foreground class, in it 1 or 0 for each slice: the class is there or is not."""
MODALITIES = "modalities"
"""Names of the channels of every image, in their order."""
FILE = "file"
"""Path of the image that an inference was given, the first one's where a case has several."""
UNIT = "unit"
"""In which unit the spacing of an image is, "mm", or "voxel" where nobody knows."""
VOXEL = "voxel"
