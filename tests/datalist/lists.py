"""What the tests of the checks share: small files, and ways to spoil them."""

import hashlib
import json
from pathlib import Path

import nibabel as nib
import numpy as np

from monai_ext.datalist.checks import check_items
from monai_ext.keys import UNLABELED

SHAPE = (6, 5, 4)


LABELS = {0, 1}


def save(path, array, affine=None):
    nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return str(path)


def full_mask():
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:4, 1:3, 1:3] = 1
    return mask


def weak_mask():
    mask = np.full(SHAPE, UNLABELED, np.uint8)
    mask[2, 1, 1], mask[0, 0, 0] = 1, 0
    return mask


def only_problem(data, **options):
    (message,) = check_items(data, LABELS, **options)
    return message


def truncate(path):
    whole = Path(path).read_bytes()
    Path(path).write_bytes(whole[: len(whole) * 2 // 3])


def cut_the_checksum(path):
    Path(path).write_bytes(Path(path).read_bytes()[:-4])


def overwrite(path):
    Path(path).write_bytes(b"this is no image at all" * 40)


def contradict(data):
    mask = weak_mask()
    mask[5, 4, 2:] = 1
    return save(data["training"][1]["label"], mask)


def written(data, path, **more):
    """Writes the lists as a datalist with relative paths."""
    lists = {
        name: [{k: v if k == "tags" else Path(v).name for k, v in i.items()} for i in found]
        for name, found in data.items()
    }
    path.write_text(json.dumps({"labels": {"0": "background", "1": "cavity"}, **lists, **more}))
    return path


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def modalities(data, *names):
    """Each item with a file of every modality instead of the one it had."""
    rng = np.random.default_rng(2)
    for item in (item for found in data.values() for item in found):
        path = Path(item["image"])
        files = [path.with_name(f"{item['case']}_{name}.nii.gz") for name in names]
        item["image"] = [save(file, rng.normal(size=SHAPE)) for file in files]
    return data


TAGS = [[0, 1, 1, 0]]
"""Of `full_mask`."""


def save_as(item, mask):
    return save(Path(item["label"]).with_name("second.nii.gz"), mask)
