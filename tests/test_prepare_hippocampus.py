"""The hippocampus script on a tiny Decathlon folder: what it writes, hides, and says about bad input."""

import json
import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_ext.datalist.checks import check_datalist
from monai_ext.datalist.datalist import items, read_datalist
from monai_ext.errors import InputError
from monai_ext.preparation.subsets import nested_subset
from monai_ext.transforms.label_noise import PRESETS, noisy_label
from tests.prepare_command import PrepareCommand, summary_rows, voxels
from tests.prepare_command import save as save_with

COMMAND = PrepareCommand("hippocampus")
AFFINE = np.diag([1.0, 1.0, 1.0, 1.0])
NAMES = [f"hippocampus_{n:03d}" for n in (1, 3, 4, 7, 8, 11, 14, 15, 19, 20)]


def save(path, array, affine=AFFINE):
    save_with(path, array, affine)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """Ten cases as in the official archive, which has files of macOS beside the images."""
    folder = tmp_path_factory.mktemp("raw")
    for name in ("imagesTr", "labelsTr", "imagesTs"):
        (folder / name).mkdir()
    r, c = np.mgrid[:24, :30]
    front, back = ((r - 12) ** 2 + (c - center) ** 2 < 36 for center in (9, 20))
    mask = np.repeat(np.select([front, back], [1, 2], 0)[..., None], 3, axis=-1).astype(np.uint8)
    mask[..., 0] = 0
    for seed, name in enumerate(NAMES):
        noise = np.random.default_rng(seed).normal(0, 5, mask.shape)
        save(folder / "imagesTr" / f"{name}.nii.gz", (100 * mask + noise).astype(np.float32))
        save(folder / "labelsTr" / f"{name}.nii.gz", mask)
        (folder / "imagesTr" / f"._{name}.nii.gz").write_bytes(b"Mac OS X")
        (folder / "labelsTr" / f"._{name}.nii.gz").write_bytes(b"Mac OS X")
    listed = [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in NAMES]
    index = {"name": "Hippocampus", "training": listed, "test": ["./imagesTs/hippocampus_002.nii.gz"]}
    (folder / "dataset.json").write_text(json.dumps(index))
    return folder


@pytest.fixture
def raw(pristine, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(pristine, tmp_path / "raw")


def run(raw, out, *options):
    return COMMAND.run(raw, *options, out=out)[0]


def prepared(raw, out, *options):
    return read_datalist(COMMAND.prepared(raw, *options, out=out) / "datalist.json")


def truth(raw, case):
    return voxels(raw / "labelsTr" / f"{case}.nii.gz")


def patients(content, section="training", kind=None):
    return {i["patient"] for i in content[section] if kind in (None, i["supervision"])}


def test_every_case_with_a_mask_is_listed_once(pristine, tmp_path):
    content = prepared(pristine, tmp_path / "out", "--full", "all")
    lists = [patients(content, section) for section in ("training", "validation", "test")]
    assert [len(names) for names in lists] == [7, 1, 2] and set.union(*lists) == set(NAMES)
    assert content["labels"] == {"0": "background", "1": "anterior hippocampus", "2": "posterior hippocampus"}
    assert content["unit"] == "mm"
    assert check_datalist(tmp_path / "out" / "datalist.json", references=True) == []


def test_images_are_copied_and_masks_kept(pristine, tmp_path):
    prepared(pristine, tmp_path / "out", "--full", "all")
    for item in items(tmp_path / "out" / "datalist.json", "training", "validation", "test"):
        source = pristine / "imagesTr" / f"{item['case']}.nii.gz"
        assert Path(item["image"]).read_bytes() == source.read_bytes()
        np.testing.assert_array_equal(voxels(item["label"]), truth(pristine, item["case"]))
        np.testing.assert_array_equal(nib.load(item["label"]).affine, AFFINE)


def test_without_noise_the_other_cases_are_unlabeled(pristine, tmp_path):
    content = prepared(pristine, tmp_path / "out", "--full", 2, "--seed", 1)
    full, none = (patients(content, kind=kind) for kind in ("full", "none"))
    assert full == set(nested_subset(full | none, 2, 1)) and len(none) == 5
    for item in content["training"]:
        assert ("label" in item) == (item["patient"] in full) != ("reference" in item)
    assert {path.name for path in (tmp_path / "out" / "reference").iterdir()} == {f"{n}.nii.gz" for n in none}


def test_with_noise_the_other_cases_get_noisy_labels(pristine, tmp_path):
    out = tmp_path / "out"
    content = prepared(pristine, out, "--full", 1, "--noise", "symmetric", "--noise-share", 0.5)
    noisy = patients(content, kind="noisy")
    corrupted = nested_subset(noisy, 3, 0)
    for item in (item for item in content["training"] if item["patient"] in noisy):
        expected = clean = truth(pristine, item["case"])
        if item["patient"] in corrupted:
            expected = noisy_label(clean, [1, 2], [PRESETS["symmetric"]], 0, item["case"])
        np.testing.assert_array_equal(voxels(out / item["label"]), expected)
        np.testing.assert_array_equal(voxels(out / item["reference"]), clean)
    assert len(noisy) == 6 and "IoU of noisy with clean labels in 3 corrupted" in content["description"]


def test_a_split_may_come_from_shares_or_a_file(raw, tmp_path):
    content = prepared(raw, tmp_path / "shares", "--split", "50/30/20")
    assert [len(content[section]) for section in ("training", "validation", "test")] == [5, 3, 2]
    rows = [f"{name},{'training' if name < NAMES[4] else 'test'}\n" for name in NAMES]
    (raw / "split.csv").write_text("patient,split\n" + "".join(rows))
    content = prepared(raw, tmp_path / "file")
    assert patients(content) == set(NAMES[:4]) and patients(content, "test") == set(NAMES[4:])


def test_the_summary_shows_cases_and_iou(pristine, tmp_path):
    result = run(pristine, tmp_path / "out", "--full", 1, "--noise", "shift")
    rows = summary_rows(result)
    assert ["training", "noisy", "6", "6", "18", "100.000%"] in rows
    assert re.search(
        r"in 6 corrupted cases: anterior hippocampus 0\.\d+, posterior", " ".join(result.output.split())
    )


def test_an_output_that_exists_is_replaced_only_on_request(pristine, tmp_path):
    prepared(pristine, tmp_path / "out")
    result = run(pristine, tmp_path / "out")
    assert result.exit_code == 1 and "choose another folder or pass --overwrite" in str(result.exception)
    assert len(prepared(pristine, tmp_path / "out", "--split", "test", "--overwrite")["test"]) == 10


def reindex(raw, **change):
    path = raw / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


def rewrite(raw, change, affine=AFFINE):
    path = raw / "labelsTr" / "hippocampus_004.nii.gz"
    save(path, change(voxels(path)), affine)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda r: (r / "dataset.json").unlink(), r"dataset\.json: Expected JSON .*got no file; check --raw"),
        (lambda r: (r / "dataset.json").write_text("{"), r"dataset\.json: Expected JSON .*JSONDecodeError"),
        (lambda r: (r / "dataset.json").write_text("[]"), r"dataset\.json: Expected JSON .*AttributeError"),
        (lambda r: reindex(r, training=[{}]), r"dataset\.json: Expected JSON .*KeyError: 'image'"),
        (lambda r: reindex(r, name="Spleen"), r"Expected cases of Hippocampus, got 10 of Spleen; check"),
        (lambda r: reindex(r, training=[]), r"Expected cases of Hippocampus, got 0 of Hippocampus"),
        (
            lambda r: (r / "imagesTr" / "hippocampus_004.nii.gz").unlink(),
            r"_004\.nii\.gz: Expected this file",
        ),
        (
            lambda r: (r / "labelsTr" / "hippocampus_007.nii.gz").unlink(),
            r"labelsTr/.*_007\.nii\.gz: Expected",
        ),
        (lambda r: rewrite(r, lambda a: a[:-1]), r"labelsTr/hippocampus_004\.nii\.gz: Expected shape"),
        (lambda r: rewrite(r, lambda a: a, 2 * AFFINE), r"_004\.nii\.gz: Expected the affine of .*imagesTr"),
        (lambda r: rewrite(r, lambda a: a + 1), r"_004\.nii\.gz: Expected values among .* got 3"),
        (
            lambda r: (r / "imagesTr" / "hippocampus_004.nii.gz").write_bytes(b"\x1f\x8b broken"),
            r"imagesTr/hippocampus_004\.nii\.gz: Expected a complete, readable image",
        ),
    ],
)
def test_bad_input_gets_one_message_and_no_output(raw, tmp_path, spoil, message):
    spoil(raw)
    result = run(raw, tmp_path / "out", "--split", "test")
    (line,) = str(result.exception).splitlines()
    assert result.exit_code == 1 and isinstance(result.exception, InputError)
    assert re.search(message, line), line
    assert list(tmp_path.iterdir()) == [raw]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--full", 8), "Expected --full at most 7, the number of training patients, got 8"),
        (("--split", "half"), "Expected --split FILE.csv, test or shares"),
        (("--noise", "blur"), "Expected --noise one of symmetric"),
        (("--noise", "shift", "--full", 7), "Expected training patients left for --noise, got none"),
    ],
)
def test_impossible_options_are_refused(pristine, tmp_path, options, message):
    result = run(pristine, tmp_path / "out", *options)
    assert result.exit_code == 1 and message in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_the_raw_data_are_never_overwritten(raw):
    (raw.parent / "datalist.json").write_text("{}")
    result = run(raw, raw.parent, "--overwrite")
    assert result.exit_code == 1 and "Expected --out apart from --raw" in str(result.exception)
    assert raw.is_dir()


def test_real_cases_can_be_prepared(data_root, tmp_path):
    source = data_root / "hippocampus"
    if not (source / "dataset.json").is_file():
        pytest.skip(f"no hippocampus cases in {data_root}")
    index = json.loads((source / "dataset.json").read_text())
    (tmp_path / "raw").mkdir()
    for name in ("imagesTr", "labelsTr"):
        (tmp_path / "raw" / name).symlink_to(source / name)
    few = json.dumps(index | {"training": index["training"][:10]})
    (tmp_path / "raw" / "dataset.json").write_text(few)
    content = prepared(tmp_path / "raw", tmp_path / "out", "--full", 0, "--noise", "symmetric")
    assert len(content["training"]) == 7 and content["unit"] == "mm"
    assert 0.5 < float(re.search(r"mean ([\d.]+)", content["description"])[1]) < 0.7
    assert check_datalist(tmp_path / "out" / "datalist.json", references=True) == []
