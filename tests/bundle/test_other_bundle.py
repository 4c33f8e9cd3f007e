"""A datalist of another bundle: one line before anything else, that names the bundle which fits."""

from pathlib import Path

import pytest
import yaml

from monai_ext.bundle import require_data
from monai_ext.datalist.datalist import write_datalist
from monai_ext.datalist.fit import BUNDLES
from monai_ext.errors import InputError

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("kind", "bundle"), BUNDLES.items())
def test_every_bundle_says_what_it_learns_from(kind, bundle):
    config = yaml.safe_load((REPOSITORY / "bundles" / bundle / "configs" / "train.yaml").read_text())
    (called,) = (str(step) for step in config["run"] if "require_data" in str(step))
    assert f"learns_from='{kind.value}'" in called or f"'learns_from': '{kind.value}'" in called


def test_data_of_another_bundle_are_one_line_though_their_files_are_missing(tmp_path):
    items = [{"image": f"{n}.nii", "label": f"{n}_m.nii", "supervision": "noisy"} for n in range(3)]
    path = write_datalist(tmp_path / "d.json", name="x", labels={0: "background", 1: "organ"}, training=items)
    with pytest.raises(InputError) as caught:
        require_data(path, {"training": items}, num_classes=4, learns_from="partial")
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f'{path}: Expected training items of supervision "partial"')
    assert "train the bundle noisy_label_segmentation" in line
