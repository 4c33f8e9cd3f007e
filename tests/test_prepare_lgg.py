"""The script for lower-grade glioma on tiny volumes: tags, modalities, what it hides and what it refuses."""

import json
import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_ext.datalist.checks import check_datalist
from monai_ext.datalist.datalist import read_datalist
from monai_ext.preparation.subsets import nested_subset
from tests.prepare_command import PrepareCommand, listed, save, summary_rows, voxels

COMMAND = PrepareCommand("lgg")
run, prepared, refusal = COMMAND.run, COMMAND.prepared, COMMAND.refusal
AFFINE = np.diag([2.0, 2.0, 5.0, 1.0])
NAMES = [f"TCGA_CS_{n}_20000101" for n in range(4941, 4947)]
SECTIONS = ["training"] * 4 + ["validation", "test"]
COLUMNS = "case,split,slices,t1_is_flair_copy,t1ce_is_flair_copy"
DEPTH = 5


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """Six cases, each with a tumor of n voxels in slice n, or in every other slice only."""
    folder = tmp_path_factory.mktemp("raw")
    rows = [COLUMNS]
    for n, (name, section) in enumerate(zip(NAMES, SECTIONS, strict=True)):
        (folder / name).mkdir()
        rng = np.random.default_rng(n)
        mask = np.zeros((8, 6, DEPTH), dtype=np.uint8)
        for depth in range(DEPTH):
            mask[:depth, n, depth] = n % 2 or depth % 2
        for modality in ("t1", "flair", "t1ce"):
            image = rng.integers(1, 255, mask.shape).astype(np.uint8)
            save(folder / name / f"{name}_{modality}.nii.gz", image, AFFINE)
        save(folder / name / f"{name}_seg.nii.gz", mask, AFFINE)
        rows.append(f"{name},{section},{DEPTH},{int(n < 2)},{int(n == 3)}")
    (folder / "split.csv").write_text("\n".join(rows))
    return folder


@pytest.fixture
def raw(pristine, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(pristine, tmp_path / "raw")


def file(raw, name, what):
    return raw / name / f"{name}_{what}.nii.gz"


def expected_tags(raw, name):
    mask = voxels(file(raw, name, "seg"))
    return [int(any(v > 0 for v in mask[..., d].ravel())) for d in range(DEPTH)]


def every_item(out):
    return {k: v for section in ("training", "validation", "test") for k, v in listed(out, section).items()}


def test_every_case_has_the_tags_of_its_mask(raw):
    out = prepared(raw)
    assert list(every_item(out)) == NAMES
    for name, item in every_item(out).items():
        assert item["tags"] == [expected_tags(raw, name)]
    assert listed(out)[NAMES[1]]["tags"] == [[0, 1, 1, 1, 1]]
    assert check_datalist(out / "datalist.json", references=True) == []


def test_training_cases_have_tags_and_a_mask_that_training_cannot_see(raw):
    out = prepared(raw)
    for item in read_datalist(out / "datalist.json")["training"]:
        assert item["supervision"] == "tags" and "label" not in item
        np.testing.assert_array_equal(voxels(out / item["reference"]), voxels(file(raw, item["case"], "seg")))
    assert not any("reference" in json.dumps(item) for item in listed(out).values())
    assert {path.name[:-7] for path in (out / "labels").iterdir()} == set(NAMES[4:])


def test_validation_and_test_keep_their_masks(raw):
    out = prepared(raw)
    for section in ("validation", "test"):
        for name, item in listed(out, section).items():
            assert item["supervision"] == "full"
            np.testing.assert_array_equal(voxels(item["label"]), voxels(file(raw, name, "seg")))


def test_some_training_patients_can_keep_their_masks(raw):
    out = prepared(raw, "--full", 2, "--seed", 3)
    full = {name for name, item in listed(out).items() if item["supervision"] == "full"}
    assert full == set(nested_subset(NAMES[:4], 2, 3))
    assert all(("label" in item) == (name in full) for name, item in listed(out).items())
    assert (
        f"full masks in training: {', '.join(sorted(full))}"
        in read_datalist(out / "datalist.json")["description"]
    )


@pytest.mark.parametrize(
    ("options", "names"),
    [((), ["t1", "flair", "t1ce"]), (("--modalities", "t1ce,flair"), ["t1ce", "flair"])],
)
def test_images_are_copied_in_the_order_of_the_modalities(raw, options, names):
    out = prepared(raw, *options)
    assert read_datalist(out / "datalist.json")["modalities"] == names
    for name, item in every_item(out).items():
        for modality, image in zip(names, item["image"], strict=True):
            assert Path(image).read_bytes() == file(raw, name, modality).read_bytes()
    assert len(list((out / "images").iterdir())) == len(names) * len(NAMES)


def test_a_modality_that_is_not_wanted_may_be_missing(raw):
    file(raw, NAMES[0], "t1ce").unlink()
    out = prepared(raw, "--modalities", "t1,flair")
    assert len(listed(out)) == 4


def test_copies_of_flair_are_counted_in_summary_and_description(raw):
    result, out = run(raw)
    for words in ("t1 is a copy of FLAIR in 2 of 6 cases", "t1ce is a copy of FLAIR in 1 of 6 cases"):
        assert words in " ".join(result.output.split())
        assert words in read_datalist(out / "datalist.json")["description"]
    result, _ = run(raw, "--modalities", "t1ce,flair", "--overwrite")
    assert "t1 is a copy" not in result.output


def test_the_summary_counts_cases_and_positive_slices(raw):
    result, _ = run(raw)
    assert ["training", "tags", "4", "4", "20", "0.000%"] in summary_rows(result)
    counts = [sum(expected_tags(raw, name)) for name in NAMES]
    words = f"positive slices: {sum(counts[:4])} of 20 in training, {counts[4]} of 5 in validation"
    assert words in " ".join(result.output.split())


def test_the_unit_is_voxel_only_if_asked_or_if_the_spacing_was_lost(raw, caplog):
    def unit(*options):
        return read_datalist(prepared(raw, "--overwrite", *options) / "datalist.json")["unit"]

    assert (unit(), unit("--spacing-unknown")) == ("mm", "voxel") and not caplog.text
    for path in raw.rglob("*.nii.gz"):
        save(path, voxels(path), np.eye(4))
    assert unit() == "voxel"
    assert "the spacing was lost" in caplog.text


def write_tags(raw, tags, header="case,slice,tag"):
    path = raw.parent / "tags.csv"
    rows = [f"{name},{number},{tag}" for name, numbers in tags.items() for number, tag in numbers]
    path.write_text("\n".join([header, *rows]))
    return path


def test_tags_can_come_from_a_file_in_place_of_masks(raw):
    given = {NAMES[0]: [(2, 1), (0, 0), (1, 0), (3, 1), (4, 0)], NAMES[1]: [(d, 0) for d in range(DEPTH)]}
    file(raw, NAMES[0], "seg").unlink()
    out = prepared(raw, "--tags", write_tags(raw, given))
    assert listed(out)[NAMES[0]]["tags"] == [[0, 0, 1, 1, 0]]
    assert listed(out)[NAMES[1]]["tags"] == [expected_tags(raw, NAMES[1])], "a mask says more than a tag"
    content = read_datalist(out / "datalist.json")["training"]
    assert ["reference" in item for item in content] == [False, True, True, True]
    assert check_datalist(out / "datalist.json", references=True) == []


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({NAMES[0]: [(0, 1), (0, 0)]}, rf"line 3: Expected each slice of {NAMES[0]} once.*got slice '0'"),
        ({NAMES[0]: [(0, 2)]}, r"line 2: .* tag 0 or 1, got slice '0' with tag '2'"),
        ({NAMES[0]: [("-1", 1)]}, r"line 2: .* from 0, .*got slice '-1'"),
        ({NAMES[0]: [(d, 0) for d in range(4)]}, r"for the slices 0 to 4, got 4 tags up to slice 3"),
        ({NAMES[0]: [(d, 0) for d in range(1, 6)]}, r"for the slices 0 to 4, got 5 tags up to slice 5"),
        ({"stranger": [(0, 1)]}, r"--tags of cases in the data, got 1 others, e\.g\. stranger"),
        ({NAMES[1]: [(0, 1)]}, rf"{NAMES[0]}_seg\.nii\.gz: Expected this file.* give the tags"),
    ],
)
def test_tags_that_do_not_fit_the_slices_are_refused(raw, tags, message):
    file(raw, NAMES[0], "seg").unlink()
    line = refusal(raw, "--tags", write_tags(raw, tags))
    assert re.search(message, line), line


def test_a_file_of_tags_with_other_columns_is_refused(raw):
    line = refusal(raw, "--tags", write_tags(raw, {}, header="name,tag"))
    assert re.search(r"tags\.csv: Expected the columns case,slice,tag, got \['name', 'tag'\]", line), line


def rewrite(raw, name, what, change, affine=AFFINE):
    path = file(raw, name, what)
    save(path, change(voxels(path)), affine)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda r: file(r, NAMES[2], "flair").unlink(),
            rf"{NAMES[2]}_flair\.nii\.gz: Expected this file, .*leave the modality out with --modalities",
        ),
        (lambda r: file(r, NAMES[5], "t1ce").unlink(), rf"{NAMES[5]}_t1ce\.nii\.gz: Expected this file"),
        (lambda r: file(r, NAMES[4], "seg").unlink(), rf"{NAMES[4]}_seg\.nii\.gz: Expected this file"),
        (
            lambda r: rewrite(r, NAMES[0], "flair", lambda a: a[:-1]),
            rf"{NAMES[0]}_flair\.nii\.gz: Expected shape \(8, 6, 5\) as in .*{NAMES[0]}_t1\.nii\.gz",
        ),
        (
            lambda r: rewrite(r, NAMES[0], "t1", lambda a: a[:-1]),
            rf"{NAMES[0]}_t1\.nii\.gz: Expected shape .* as in the other modalities",
        ),
        (
            lambda r: rewrite(r, NAMES[0], "t1ce", lambda a: a, np.eye(4)),
            rf"{NAMES[0]}_t1ce\.nii\.gz: Expected the affine of .*{NAMES[0]}_t1\.nii\.gz",
        ),
        (
            lambda r: rewrite(r, NAMES[0], "seg", lambda a: a[:-1]),
            rf"{NAMES[0]}_seg\.nii\.gz: Expected shape .* as in .*{NAMES[0]}_t1\.nii\.gz",
        ),
        (
            lambda r: rewrite(r, NAMES[0], "seg", lambda a: a + 1),
            r"_seg\.nii\.gz: Expected values among .*got 2",
        ),
        (
            lambda r: rewrite(r, NAMES[0], "t1", lambda a: np.stack([a, a], axis=-1)),
            rf"{NAMES[0]}_t1\.nii\.gz: Expected three axes, got shape \(8, 6, 5, 2\)",
        ),
        (
            lambda r: file(r, NAMES[1], "flair").write_bytes(b"\x1f\x8b broken"),
            rf"{NAMES[1]}_flair\.nii\.gz: Expected a complete, readable image",
        ),
        (
            lambda r: nib.save(nib.load(file(r, NAMES[0], "t1")), r / f"{NAMES[0]}_t1.nii"),
            rf"Expected data of every patient in the file, got none for {NAMES[0]}",
        ),
        (lambda r: shutil.rmtree(r / NAMES[3]), rf"split\.csv: Expected data of every .*{NAMES[3]}"),
        (lambda r: (r / "split.csv").unlink(), r"split\.csv or --split, got neither"),
    ],
)
def test_bad_input_gets_one_message_and_no_output(raw, spoil, message):
    spoil(raw)
    line = refusal(raw)
    assert re.search(message, line), line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--modalities", "t1,t2"), "Expected --modalities among t1,flair,t1ce, each once, got t1,t2"),
        (("--modalities", "t1,t1"), "Expected --modalities among t1,flair,t1ce, each once, got t1,t1"),
        (("--modalities", ""), "Expected --modalities among t1,flair,t1ce"),
        (("--full", 5), "Expected --full at most 4, the number of training patients, got 5"),
    ],
)
def test_impossible_options_are_refused(raw, options, message):
    assert message in refusal(raw, *options)


def test_it_runs_as_a_script_without_a_traceback(tmp_path):
    done = COMMAND.as_script(tmp_path)
    assert done.returncode == 1 and done.stderr.startswith("Expected files CASE_{t1,flair,t1ce,seg}")
    assert "Traceback" not in done.stderr and list(tmp_path.iterdir()) == []


def test_real_cases_can_be_prepared(data_root, tmp_path):
    folders = sorted((data_root / "lgg").glob("TCGA_*"))[:5]
    if len(folders) < 5:
        pytest.skip(f"no cases of lower-grade glioma in {data_root}")
    (tmp_path / "raw").mkdir()
    for folder in folders:
        shutil.copytree(folder, tmp_path / "raw" / folder.name)
    out = prepared(tmp_path / "raw", "--split", "3/1/1")
    tags = [tag for item in listed(out).values() for tag in item["tags"][0]]
    assert len(listed(out)) == 3 and 0.1 < np.mean(tags) < 0.7
    assert read_datalist(out / "datalist.json")["unit"] == "voxel"
    assert check_datalist(out / "datalist.json", references=True) == []
