import csv

import pytest

from monai_ext.errors import InputError
from monai_ext.handlers.volume_table import VolumeTable


def rows(folder):
    with (folder / "volumes.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_row_says_volumes_in_milliliters_and_voxels(tmp_path):
    VolumeTable(tmp_path / "new").put("p1", "in/p1.nii", "p1_seg.nii.gz", {"rv": 10, "lv": 2000}, 0.0125)
    assert rows(tmp_path / "new") == [
        {
            "case": "p1",
            "image": "in/p1.nii",
            "mask": "p1_seg.nii.gz",
            "rv [mL]": "0.125",
            "rv [voxels]": "10",
            "lv [mL]": "25.000",
            "lv [voxels]": "2000",
        }
    ]


def test_where_the_spacing_is_unknown_there_are_voxels_only(tmp_path):
    VolumeTable(tmp_path).put("p", "p.nii", "p_seg.nii.gz", {"lv": 7}, None)
    assert rows(tmp_path)[0]["lv [mL]"] == "" and rows(tmp_path)[0]["lv [voxels]"] == "7"


def test_rows_of_earlier_inferences_stay_until_their_mask_is_replaced(tmp_path):
    VolumeTable(tmp_path).put("b", "b.nii", "b_seg.nii.gz", {"lv": 1}, 1)
    table = VolumeTable(tmp_path)
    table.put("a, of two", "a.nii", "a_seg.nii.gz", {"tumor": 2}, 1)
    table.put("b", "other/b.nii", "b_seg.nii.gz", {"lv": 3}, 1)
    found = rows(tmp_path)
    assert [(row["case"], row["lv [voxels]"], row["tumor [voxels]"]) for row in found] == [
        ("a, of two", "", "2"),
        ("b", "3", ""),
    ]
    assert found[1]["image"] == "other/b.nii"


@pytest.mark.parametrize("content", [b"name;age\nx;3\n", b"\xff\xfe\x00", b""])
def test_another_file_of_this_name_is_left_alone(tmp_path, content):
    (tmp_path / "volumes.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"volumes\.csv: Expected the table of an earlier inference"):
        VolumeTable(tmp_path)
    assert (tmp_path / "volumes.csv").read_bytes() == content


def test_a_table_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    table = VolumeTable(tmp_path)
    table.put("a", "a.nii", "a_seg.nii.gz", {"lv": 1}, 1)
    before = (tmp_path / "volumes.csv").read_bytes()

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(csv.DictWriter, "writerows", full)
    with pytest.raises(InputError, match="Expected to write the table of volumes, got No space left"):
        table.put("b", "b.nii", "b_seg.nii.gz", {"lv": 1}, 1)
    assert [file.name for file in tmp_path.iterdir()] == ["volumes.csv"]
    assert (tmp_path / "volumes.csv").read_bytes() == before
