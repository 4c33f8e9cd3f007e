"""ACDC's prepare script on a tiny raw folder: what it writes, and what it hides."""

import hashlib
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_ext.datalist.datalist import items, read_datalist
from monai_ext.keys import UNLABELED
from monai_ext.preparation.subsets import nested_subset
from tests.prepare_command import listed as frames
from tests.prepare_command import save, summary_rows, voxels

PATIENTS = [f"patient{n:03d}" for n in range(1, 8)]


def test_every_frame_is_listed_once_with_its_kind(raw):
    out = raw.prepared("--full", 2)
    listed = frames(out)
    assert sorted(listed) == [f"{name}_frame{n}" for name in PATIENTS[:5] for n in ("01", "09")]
    full = {item["patient"] for item in listed.values() if item["supervision"] == "full"}
    assert full == set(nested_subset(PATIENTS[:5], 2, 0))
    assert {item["supervision"] for item in listed.values()} == {"full", "partial"}
    for section, patient in (("validation", "patient006"), ("test", "patient007")):
        found = items(out / "datalist.json", section)
        assert {(item["patient"], item["supervision"]) for item in found} == {(patient, "full")}
    assert read_datalist(out / "datalist.json")["labels"] == {"0": "background", "1": "left ventricle cavity"}


@pytest.mark.parametrize(("task", "class_of"), [("lv", [0, 0, 0, 1]), ("heart", [0, 1, 2, 3])])
def test_weak_labels_are_true_and_full_ones_complete(raw, task, class_of):
    out = raw.prepared("--task", task, "--full", 1, "--background", 3, "--ring-spots", 0)
    for case, item in frames(out).items():
        label, truth = voxels(item["label"]), np.array(class_of)[raw.voxels(f"{case}_gt.nii.gz")]
        said = label != UNLABELED
        np.testing.assert_array_equal(label[said], truth[said])
        assert said.all() == (item["supervision"] == "full")
        if item["supervision"] == "partial":
            assert set(np.unique(label)) == {*class_of, UNLABELED} and said.mean() < 0.1
            np.testing.assert_array_equal((label == 0).sum(axis=(0, 1)), 3)
            np.testing.assert_array_equal(voxels(out / "reference" / f"{case}.nii.gz"), truth)


def test_full_masks_of_weak_patients_lie_only_where_no_item_points(raw):
    out = raw.prepared("--full", 1)
    weak = {case for case, item in frames(out).items() if item["supervision"] == "partial"}
    content = json.loads((out / "datalist.json").read_text())
    assert {i["case"]: i["reference"] for i in content["training"] if "reference" in i} == {
        case: f"reference/{case}.nii.gz" for case in weak
    }
    assert {path.name for path in (out / "reference").iterdir()} == {f"{case}.nii.gz" for case in weak}
    assert not any("reference" in json.dumps(item) for item in frames(out).values())
    assert not any(Path(i[k]).is_absolute() for i in content["training"] for k in ("image", "label"))


def test_every_item_has_the_digest_of_its_label_file(raw):
    out = raw.prepared("--full", 1)
    listed = [item for s in ("training", "validation", "test") for item in frames(out, s).values()]
    assert len(listed) == 14
    for item in listed:
        assert item["label_sha256"] == hashlib.sha256(Path(item["label"]).read_bytes()).hexdigest()


def test_image_and_label_keep_their_types_and_the_affine(raw):
    out = raw.prepared("--full", 1)
    for case, item in frames(out).items():
        image, label = nib.load(item["image"]), nib.load(item["label"])
        assert (image.get_data_dtype(), label.get_data_dtype()) == (np.int16, np.uint8)
        source = nib.load(raw.file(f"{case}.nii.gz"))
        np.testing.assert_array_equal(image.affine, source.affine)
        np.testing.assert_array_equal(label.affine, source.affine)
        assert image.header.get_zooms() == label.header.get_zooms()
        np.testing.assert_array_equal(voxels(item["image"]), np.asanyarray(source.dataobj))


def test_the_same_seed_gives_the_same_files_and_another_does_not(raw, tmp_path):
    options = ("--weak", "random", "--full", 2, "--seed")
    a, b, c = (raw.prepared(*options, seed, out=tmp_path / f"o{i}") for i, seed in enumerate((1, 1, 2)))
    weak = [case for case, item in frames(a).items() if item["supervision"] == "partial"]
    assert (a / "datalist.json").read_text() == (b / "datalist.json").read_text()
    for case in weak:
        np.testing.assert_array_equal(voxels(frames(a)[case]["label"]), voxels(frames(b)[case]["label"]))
    assert any((voxels(frames(a)[case]["label"]) != voxels(frames(c)[case]["label"])).any() for case in weak)


def test_more_full_patients_leave_the_weak_labels_of_the_others_alone(raw, tmp_path):
    few, more = (frames(raw.prepared("--full", n, out=tmp_path / f"o{n}")) for n in (1, 3))
    kinds = [{i["patient"] for i in f.values() if i["supervision"] == "full"} for f in (few, more)]
    assert len(kinds[0]) == 1 and len(kinds[1]) == 3 and kinds[0] < kinds[1]
    for case, item in more.items():
        if item["supervision"] == "partial":
            np.testing.assert_array_equal(voxels(item["label"]), voxels(few[case]["label"]))


@pytest.mark.parametrize(("full", "partial_cases"), [(0, 10), (5, 0), ("all", 0)])
def test_no_or_all_patients_may_have_full_masks(raw, full, partial_cases):
    kinds = [item["supervision"] for item in frames(raw.prepared("--full", full)).values()]
    assert len(kinds) == 10 and kinds.count("partial") == partial_cases


def test_background_marks_lie_in_the_ring(raw):
    out = raw.prepared("--full", 0, "--ring", 2, 4, "--ring-spots", 6, "--background", 0)
    r, c = np.mgrid[:28, :32] - 14
    for item in frames(out).values():
        label = voxels(item["label"])
        radius = np.sqrt(r**2 + c**2)[label[..., 0] == 0]
        assert len(radius) == 6 and (radius > 5).all() and (radius < 9.5).all()
        assert (label[..., 2] == 0).sum() == 6


def test_max_core_voxels_limits_each_slice(raw):
    out = raw.prepared("--full", 0, "--weak", "centroid", "--max-core-voxels", 4)
    for item in frames(out).values():
        np.testing.assert_array_equal((voxels(item["label"]) == 1).sum(axis=(0, 1)), [4, 4, 0])


@pytest.mark.parametrize(("task", "class_of"), [("lv", [0, 0, 0, 1]), ("heart", [0, 1, 2, 3])])
def test_scribbles_become_weak_labels(raw, task, class_of):
    out = raw.prepared("--full", 0, "--weak", "scribble", "--task", task)
    for case, item in frames(out).items():
        truth = raw.voxels(f"{case}_gt.nii.gz")
        expected = np.full_like(truth, UNLABELED)
        expected[::3, ::2] = np.array(class_of)[truth][::3, ::2]
        np.testing.assert_array_equal(voxels(item["label"]), expected)


def test_a_few_contradicting_scribble_voxels_are_left_unlabeled(raw, caplog):
    wrong = raw.spoil_scribble(3)
    with caplog.at_level("INFO"):
        out = raw.prepared("--full", 0, "--weak", "scribble", "--task", "heart")
    assert (voxels(frames(out)["patient002_frame01"]["label"]).flat[wrong] == UNLABELED).all()
    assert "patient002_frame01_scribble.nii.gz: 3 of 480 marked voxels contradict" in caplog.text


def test_without_split_csv_the_split_is_drawn_by_patient(raw):
    raw.file("split.csv").unlink()
    out = raw.prepared("--split", "70/15/15", "--full", 1)
    lists = {s: {i["patient"] for i in frames(out, s).values()} for s in ("training", "validation", "test")}
    assert {s: len(p) for s, p in lists.items()} == {"training": 5, "validation": 1, "test": 1}
    assert set.union(*lists.values()) == set(PATIENTS)


def test_split_test_puts_everything_in_the_test_list(raw):
    out = raw.prepared("--split", "test")
    assert len(frames(out, "test")) == 14 and not frames(out) and not frames(out, "validation")


def test_the_unit_is_voxel_only_if_asked_or_if_the_spacing_was_lost(raw, empty, tmp_path, caplog):
    def unit(raw, *options):
        out = tmp_path / f"o{len(list(tmp_path.iterdir()))}"
        return read_datalist(raw.prepared("--split", "test", *options, out=out) / "datalist.json")["unit"]

    assert (unit(raw), unit(raw, "--spacing-unknown")) == ("mm", "voxel") and not caplog.text
    empty.add_patient("patient001", np.diag([-1.0, -1.0, 1.0, 1.0]))
    assert unit(empty) == "voxel"
    assert "the spacing was lost" in caplog.text


def test_the_summary_counts_cases_patients_and_slices(raw):
    result, out = raw.run("--full", 2)
    rows = summary_rows(result)
    assert ["training", "full", "2", "4", "12", "100.000%"] in rows
    assert any(row[:5] == ["training", "partial", "3", "6", "18"] and float(row[5][:-1]) < 5 for row in rows)
    assert result.output.replace("\n", "").endswith(f"wrote {out}/datalist.json")


def test_real_patients_can_be_prepared(data_root, empty):
    folders = sorted((data_root / "acdc").glob("patient*"))[:4]
    if len(folders) < 4:
        pytest.skip(f"no ACDC patients in {data_root}")
    for folder in folders:
        (empty.folder / folder.name).symlink_to(folder)
    empty.write_split((f.name, "validation" if f == folders[3] else "training") for f in folders)
    out = empty.prepared("--full", 1, "--weak", "scribble", "--task", "heart")
    weak = [voxels(i["label"]) for i in frames(out).values() if i["supervision"] == "partial"]
    assert len(weak) == 4 and len(frames(out, "validation")) == 2
    assert all(0.002 < (label != UNLABELED).mean() < 0.05 for label in weak)
    assert read_datalist(out / "datalist.json")["unit"] == "voxel"


def test_patients_of_one_name_in_different_folders_are_both_written(raw):
    source = next(raw.folder.rglob("patient002"))
    shutil.copytree(source, raw.folder / "second" / "patient002")
    for path in (raw.folder / "second").rglob("*.nii.gz"):
        save(path, voxels(path) + 0, np.diag([-2, -2, 8, 1]))
    items = frames(raw.prepared("--full", "0", "--split", "test"), "test")
    of_second = sorted(name for name in items if name.startswith("second_patient002"))
    assert of_second == ["second_patient002_frame01", "second_patient002_frame09"]
    assert {items[name]["patient"] for name in of_second} == {"second_patient002"}
