"""BraTS's prepare script on tiny volumes: the layouts of all years, regions, patients and timepoints."""

import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_ext.datalist.checks import check_datalist
from monai_ext.datalist.datalist import read_datalist
from tests.prepare_command import PrepareCommand, listed, save, voxels

COMMAND = PrepareCommand("brats")
run, prepared, refusal = COMMAND.run, COMMAND.prepared, COMMAND.refusal
UNTIL_2021 = {"t1": "_t1", "t1ce": "_t1ce", "t2": "_t2", "flair": "_flair", "seg": "_seg"}
FROM_2023 = {"t1": "-t1n", "t1ce": "-t1c", "t2": "-t2w", "flair": "-t2f", "seg": "-seg"}
LAYOUTS = {
    "2018": ([f"{'HGG' if n < 3 else 'LGG'}/Brats18_TCIA0{n}_1" for n in range(5)], UNTIL_2021, ".nii.gz"),
    "2020": ([f"train/BraTS20_Training_00{n}" for n in range(5)], UNTIL_2021, ".nii"),
    "2021": ([f"BraTS2021_0000{n}" for n in range(5)], UNTIL_2021, ".nii.gz"),
    "2023": ([f"GLI/BraTS-GLI-0000{n}-000" for n in range(5)], FROM_2023, ".nii.gz"),
}
SPLIT = ("--split", "3/1/1")


def add_case(folder, suffixes, ending=".nii.gz", enhancing=4, seed=0):
    """A case with edema in slices 1 to 4, necrosis in 2 and 3, and enhancing tumor in 3."""
    folder.mkdir(parents=True)
    mask = np.zeros((6, 7, 6), dtype=np.uint8)
    mask[1:5, 1:6, 1:5], mask[2:4, 2:4, 2:4], mask[2, 2, 3] = 2, 1, enhancing
    rng = np.random.default_rng(seed)
    for what, suffix in suffixes.items():
        image = mask if what == "seg" else rng.integers(1, 900, mask.shape).astype(np.int16)
        save(folder / f"{folder.name}{suffix}{ending}", image, np.diag([-1.0, -1.0, 1.0, 1.0]))


@pytest.fixture
def raw(tmp_path):
    """Five cases as in 2021."""
    return fill(tmp_path / "raw", "2021")


def fill(folder, year):
    places, suffixes, ending = LAYOUTS[year]
    for seed, place in enumerate(places):
        add_case(folder / place, suffixes, ending, 3 if year == "2023" else 4, seed)
    return folder


def every_item(out):
    return {k: v for section in ("training", "validation", "test") for k, v in listed(out, section).items()}


@pytest.mark.parametrize("year", LAYOUTS)
def test_the_layouts_of_all_years_are_read(tmp_path, year):
    raw = fill(tmp_path / "raw", year)
    out = prepared(raw, *SPLIT)
    places, suffixes, ending = LAYOUTS[year]
    assert set(every_item(out)) == {Path(place).name for place in places}
    for place in places:
        item = every_item(out)[Path(place).name]
        sources = [raw / place / f"{Path(place).name}{s}{ending}" for s in suffixes.values()][:4]
        assert [Path(i).read_bytes() for i in item["image"]] == [source.read_bytes() for source in sources]
        assert item["tags"] == [[0, 1, 1, 1, 1, 0]]
    assert read_datalist(out / "datalist.json")["modalities"] == ["t1", "t1ce", "t2", "flair"]
    assert check_datalist(out / "datalist.json", references=True) == []


@pytest.mark.parametrize("year", ["2021", "2023"])
@pytest.mark.parametrize(
    ("region", "name", "parts", "tags"),
    [
        ("whole", "whole tumor", (1, 2, 3, 4), [0, 1, 1, 1, 1, 0]),
        ("core", "tumor core", (1, 3, 4), [0, 0, 1, 1, 0, 0]),
        ("enhancing", "enhancing tumor", (3, 4), [0, 0, 0, 1, 0, 0]),
    ],
)
def test_a_region_is_made_of_its_parts(tmp_path, year, region, name, parts, tags):
    raw = fill(tmp_path / "raw", year)
    out = prepared(raw, *SPLIT, "--region", region)
    assert read_datalist(out / "datalist.json")["labels"] == {"0": "background", "1": name}
    for case, item in every_item(out).items():
        assert item["tags"] == [tags]
        if "label" in item:
            (source,) = raw.rglob(f"{case}?seg.nii*")
            expected = np.vectorize(lambda value: value in parts)(voxels(source))
            np.testing.assert_array_equal(voxels(item["label"]), expected)


def test_the_training_has_no_masks_unless_asked(raw):
    def kinds(*options):
        items = listed(prepared(raw, *SPLIT, "--overwrite", *options)).values()
        assert all(("label" in item) == (item["supervision"] == "full") for item in items)
        return sorted(item["supervision"] for item in items)

    assert kinds() == ["tags", "tags", "tags"]
    assert kinds("--full", 1) == ["full", "tags", "tags"]
    assert kinds("--full", "all") == ["full", "full", "full"]


def test_timepoints_of_a_patient_stay_together(tmp_path):
    raw = tmp_path / "raw"
    for seed in range(12):
        add_case(raw / f"BraTS-GLI-{seed // 3:05d}-{seed % 3:03d}", FROM_2023, enhancing=3, seed=seed)
    out = prepared(raw, "--split", "2/1/1", "--full", 1)
    patients = [{i["patient"] for i in listed(out, s).values()} for s in ("training", "validation", "test")]
    assert [len(names) for names in patients] == [2, 1, 1]
    assert set.union(*patients) == {f"BraTS-GLI-{n:05d}" for n in range(4)}
    kinds = {(item["patient"], item["supervision"]) for item in listed(out).values()}
    assert len(listed(out)) == 6 and len(kinds) == 2


def test_until_2021_a_case_is_a_patient(raw):
    assert all(item["patient"] == case for case, item in every_item(prepared(raw, *SPLIT)).items())


def test_a_split_file_names_patients(tmp_path):
    raw = fill(tmp_path / "raw", "2023")
    rows = [f"BraTS-GLI-0000{n},{'training' if n < 4 else 'test'}" for n in range(5)]
    (raw / "split.csv").write_text("\n".join(["patient,split", *rows]))
    out = prepared(raw)
    assert len(listed(out)) == 4 and list(listed(out, "test")) == ["BraTS-GLI-00004-000"]


def test_spacing_of_1_mm_is_believed_unless_it_is_called_unknown(raw, caplog):
    def unit(*options):
        out = prepared(raw, *SPLIT, "--overwrite", *options)
        return read_datalist(out / "datalist.json")["unit"]

    assert (unit(), unit("--spacing-unknown")) == ("mm", "voxel")
    assert not caplog.text


def test_two_values_for_the_enhancing_tumor_are_refused(raw):
    add_case(raw / "BraTS2021_00005", UNTIL_2021, enhancing=3)
    line = refusal(raw, *SPLIT)
    assert re.search(r"Expected 3 or 4 .* got 3 in .*00005_seg\.nii\.gz and 4 in .*0000\d_seg", line), line


def rewrite(path, change):
    source = nib.load(path)
    save(path, change(voxels(path)), source.affine)


@pytest.mark.parametrize(
    ("spoil", "options", "message"),
    [
        (
            lambda f: (f / f"{f.name}_t2.nii.gz").unlink(),
            (),
            r"00002_t2\.nii\.gz: Expected this file, found none; leave the modality out with --modalities",
        ),
        (
            lambda f: (f / f"{f.name}_seg.nii.gz").rename(f / "W39_1998.09.19_Segm.nii"),
            (),
            r"00002_seg\.nii\.gz: Expected this file, found none; restore it",
        ),
        (
            lambda f: rewrite(f / f"{f.name}_flair.nii.gz", lambda a: a[..., 1:]),
            (),
            r"00002_flair\.nii\.gz: Expected shape .* as in .*00002_t1\.nii\.gz",
        ),
        (
            lambda f: rewrite(f / f"{f.name}_seg.nii.gz", lambda a: np.where(a == 2, 5, a).astype(np.uint8)),
            (),
            r"00002_seg\.nii\.gz: Expected values among \[0, 1, 2, 3, 4\], got 5",
        ),
        (
            lambda f: shutil.copytree(f, f.parent / "again" / f.name),
            (),
            r"00002/.*\.nii\.gz: Expected each case once, got a copy of .*; leave one of the two out",
        ),
        (lambda f: None, ("--modalities", "t1n"), r"Expected --modalities among t1,t1ce,t2,flair, each once"),
    ],
)
def test_bad_input_gets_one_message_and_no_output(raw, spoil, options, message):
    spoil(raw / "BraTS2021_00002")
    line = refusal(raw, *SPLIT, *options)
    assert re.search(message, line), line


def test_the_missing_file_of_a_newer_case_is_named_as_there(tmp_path):
    raw = fill(tmp_path / "raw", "2023")
    (raw / "GLI/BraTS-GLI-00001-000/BraTS-GLI-00001-000-t1c.nii.gz").unlink()
    assert "BraTS-GLI-00001-000-t1c.nii.gz: Expected this file" in refusal(raw, *SPLIT)
    assert len(every_item(prepared(raw, *SPLIT, "--modalities", "t1,t2"))) == 5


def test_files_that_macos_adds_are_left_out(raw):
    (raw / "BraTS2021_00000" / "._BraTS2021_00000_t1.nii.gz").write_bytes(b"Mac OS X")
    (raw / "__MACOSX").mkdir()
    (raw / "__MACOSX" / "BraTS2021_00009_t1.nii.gz").write_bytes(b"Mac OS X")
    assert len(every_item(prepared(raw, *SPLIT))) == 5


def test_it_runs_as_a_script_without_a_traceback(tmp_path):
    done = COMMAND.as_script(tmp_path)
    assert done.returncode == 1 and done.stderr.startswith("Expected files CASE_{t1,t1ce,t2,flair,seg}")
    assert "Traceback" not in done.stderr and list(tmp_path.iterdir()) == []


def test_a_patient_whose_case_lies_in_two_folders_stays_one_patient():
    cases = ["A_BraTS-GLI-00001-000", "B_BraTS-GLI-00001-000", "BraTS-GLI-00001-001"]
    assert {COMMAND.module.patient_of(case) for case in cases} == {"BraTS-GLI-00001"}
