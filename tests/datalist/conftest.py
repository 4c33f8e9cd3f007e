import numpy as np
import pytest

from tests.datalist.lists import SHAPE, TAGS, full_mask, save, sha256, weak_mask


@pytest.fixture
def data(tmp_path):
    """One full and one partial training case, one validation case, one test case, all in order."""
    rng = np.random.default_rng(0)

    def item(case, supervision="full"):
        image = rng.normal(size=SHAPE).astype(np.float32)
        found = {
            "image": save(tmp_path / f"{case}.nii.gz", image),
            "label": save(
                tmp_path / f"{case}_label.nii.gz", full_mask() if supervision == "full" else weak_mask()
            ),
            "supervision": supervision,
            "case": case,
            "patient": case.split("_")[0],
        }
        if supervision == "partial":
            found["reference"] = save(tmp_path / f"{case}_full.nii.gz", full_mask())
        return found

    return {
        "training": [item("p1_01"), item("p2_01", "partial")],
        "validation": [item("p3_01")],
        "test": [item("p4_01")],
    }


@pytest.fixture
def digested(data):
    """The same items with the digests of their labels."""
    for item in (item for found in data.values() for item in found):
        item["label_sha256"] = sha256(item["label"])
    return data


@pytest.fixture
def noisy(data):
    """The item of the weak case, whose labels are wrong here and there."""
    data["training"][1]["supervision"] = "noisy"
    return data["training"][1]


@pytest.fixture
def tagged(data):
    """The same cases; the weak one and that for validation have tags, and no label."""
    for section in ("training", "validation"):
        item = data[section][-1]
        item |= {"reference": item.pop("label"), "supervision": "tags", "tags": TAGS}
    save(data["training"][1]["reference"], full_mask())
    return data
