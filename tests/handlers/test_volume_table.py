import csv
from pathlib import Path

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


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"name;age\nx;3\n", "the columns name;age"),
        (b"\xff\xfe\x00", "codec can't decode"),
        (b"", "an empty file"),
        (b"case,image,mask,lv [mL]\na,a.nii\n", "another number of cells in row 1"),
        (b"case,image,mask\na,a.nii,a_seg.nii,my note\n", "another number of cells in row 1"),
        (b"case,image,mask,x,x\na,a.nii,a_seg.nii,1,2\n", "a column twice"),
        (b"case,image,mask\na,a.nii,m.nii\nb,b.nii,m.nii\n", "a mask twice"),
    ],
)
def test_a_damaged_table_is_kept_aside_with_a_line(tmp_path, caplog, content, reason):
    for _ in range(2):  # within the same second
        (tmp_path / "volumes.csv").write_bytes(content)
        VolumeTable(tmp_path).put("p", "p.nii", "p_seg.nii.gz", {"lv": 7}, 1)
        assert [row["case"] for row in rows(tmp_path)] == ["p"]
    kept = [file for file in tmp_path.iterdir() if file.name.startswith("volumes_")]
    assert [file.read_bytes() for file in kept] == [content, content]
    assert reason in caplog.messages[0] and "it is kept as volumes_" in caplog.messages[0]
    assert len(caplog.messages) == 2


def test_a_table_that_a_spreadsheet_saved_with_a_mark_at_the_start_is_continued(tmp_path):
    VolumeTable(tmp_path).put("b", "b.nii", "b_seg.nii.gz", {"lv": 1}, 1)
    table = tmp_path / "volumes.csv"
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes())
    VolumeTable(tmp_path).put("a", "a.nii", "a_seg.nii.gz", {"lv": 1}, 1)
    assert [row["case"] for row in rows(tmp_path)] == ["a", "b"]


def test_a_table_that_cannot_be_kept_aside_is_told(tmp_path, monkeypatch):
    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "volumes.csv").touch()
    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(InputError, match=r"volumes\.csv: Expected to rename the table .*Permission denied"):
        VolumeTable(tmp_path)


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
