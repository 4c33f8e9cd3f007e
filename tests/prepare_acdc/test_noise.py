"""Noisy labels from ACDC's prepare script: what they are, whose they are, and what is said about them."""

import re

import numpy as np
import pytest

from monai_ext.datalist.checks import check_datalist
from monai_ext.datalist.datalist import items, read_datalist
from monai_ext.preparation.subsets import nested_subset
from monai_ext.transforms.label_noise import PRESETS, LabelNoise, noisy_label, realized_iou
from tests.prepare_command import voxels

TRAINING = [f"patient{n:03d}" for n in range(1, 6)]
HEART = ("--task", "heart", "--full")


def labels(out, section="training"):
    return {item["case"]: voxels(item["label"]) for item in items(out / "datalist.json", section)}


def changed_patients(raw, out):
    differs = {case: (label != raw.voxels(f"{case}_gt.nii.gz")).any() for case, label in labels(out).items()}
    return {case[:10] for case, different in differs.items() if different}


def test_patients_beyond_the_full_ones_get_noisy_labels_and_a_reference(raw):
    out = raw.prepared(*HEART, 2, "--noise", "symmetric", "--seed", 4)
    listed, full = read_datalist(out / "datalist.json")["training"], nested_subset(TRAINING, 2, 4)
    for item in listed:
        case = item["case"]
        expected = clean = raw.voxels(f"{case}_gt.nii.gz")
        if item["supervision"] == "noisy":
            np.testing.assert_array_equal(voxels(out / item["reference"]), clean)
            expected = noisy_label(clean, [1, 2, 3], [PRESETS["symmetric"]], 4, case)
            assert (expected != clean).any()
        np.testing.assert_array_equal(voxels(out / item["label"]), expected)
    assert {(i["patient"] in full, i["supervision"]) for i in listed} == {(True, "full"), (False, "noisy")}
    assert check_datalist(out / "datalist.json", references=True) == []


def test_what_is_scored_stays_clean(raw):
    out = raw.prepared(*HEART, 0, "--noise", "hurried")
    for section in ("validation", "test"):
        assert {item["supervision"] for item in items(out / "datalist.json", section)} == {"full"}
        for case, label in labels(out, section).items():
            np.testing.assert_array_equal(label, raw.voxels(f"{case}_gt.nii.gz"))


def test_several_noises_and_their_options_reach_the_labels(raw):
    words = ("--noise", "symmetric", "--noise", "shift", "--noise-k", 1, 2, "--noise-under", 0.9)
    out = raw.prepared(*HEART, 0, *words)
    noises = [LabelNoise("size", (1, 2), 0.9), LabelNoise("shift", (1, 2))]
    for case, label in labels(out).items():
        expected = noisy_label(raw.voxels(f"{case}_gt.nii.gz"), [1, 2, 3], noises, 0, case)
        np.testing.assert_array_equal(label, expected)


def test_a_task_of_one_class_gets_noise_of_that_class(raw):
    out = raw.prepared("--task", "lv", "--full", 0, "--noise", "symmetric")
    for case, label in labels(out).items():
        clean = (raw.voxels(f"{case}_gt.nii.gz") == 3).astype(np.uint8)
        np.testing.assert_array_equal(label, noisy_label(clean, [1], [PRESETS["symmetric"]], 0, case))


@pytest.mark.parametrize(("share", "patients"), [(0, 0), (0.4, 2), (1, 5)])
def test_a_share_of_the_patients_is_corrupted_and_all_are_called_noisy(raw, share, patients):
    out = raw.prepared(*HEART, 0, "--noise", "hurried", "--noise-share", share, "--seed", 1)
    assert changed_patients(raw, out) == set(nested_subset(TRAINING, patients, 1))
    assert {item["supervision"] for item in items(out / "datalist.json", "training")} == {"noisy"}
    assert len(list((out / "reference").iterdir())) == 10


def test_the_realized_iou_is_printed_and_kept(raw):
    result, out = raw.run(*HEART, 0, "--noise", "symmetric", "--noise-share", 0.6)
    pairs = [(label, raw.voxels(f"{case}_gt.nii.gz")) for case, label in labels(out).items()]
    changed = [pair for pair in pairs if (pair[0] != pair[1]).any()]
    description = read_datalist(out / "datalist.json")["description"]
    for what, group in (("6 corrupted", changed), ("10 noisy", pairs)):
        iou = [f"{value:.3f}" for value in realized_iou(group, [1, 2, 3]).values()]
        line = "in {} cases: right ventricle {}, myocardium {}, left ventricle cavity {}".format(what, *iou)
        assert line in " ".join(result.output.split()) and line in description
    named = re.search("labels of 3 patients corrupted: (.*?); ", description)
    assert set(named[1].split(", ")) == changed_patients(raw, out)


def test_the_same_seed_gives_the_same_files_and_another_does_not(raw, tmp_path):
    words = (*HEART, 1, "--noise", "wobble", "--noise-share", 0.5, "--seed")
    outs = [raw.prepared(*words, seed, out=tmp_path / f"o{i}") for i, seed in enumerate((1, 1, 2))]
    one, same, other = ((out / "datalist.json").read_text() for out in outs)
    assert one == same != other
    for case, label in labels(outs[0]).items():
        np.testing.assert_array_equal(label, labels(outs[1])[case])


def test_noisy_labels_need_no_scribbles(raw):
    for path in raw.folder.rglob("*_scribble.nii.gz"):
        path.unlink()
    out = raw.prepared(*HEART, 0, "--weak", "scribble", "--noise", "shift")
    assert len(labels(out)) == 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--noise", "blur"), "Expected --noise one of symmetric, .* got blur"),
        (("--noise-share", 0.5), "Expected a --noise that uses --noise-share, got none"),
        (("--noise", "shift", "--full", "all"), "Expected training patients left for --noise"),
        (("--noise", "shift", "--split", "test"), "Expected training patients left for --noise"),
        (("--noise", "swapped-classes", "--task", "lv"), "Expected at least two classes to swap"),
    ],
)
def test_impossible_options_are_refused(raw, options, message):
    assert re.match(message, raw.refusal(*options))


def test_published_noise_on_real_hearts_has_the_published_iou(data_root, empty):
    folders = sorted((data_root / "acdc").glob("patient*"))[:8]
    if len(folders) < 8:
        pytest.skip(f"no ACDC patients in {data_root}")
    for folder in folders:
        (empty.folder / folder.name).symlink_to(folder)
    out = empty.prepared(*HEART, 0, "--noise", "symmetric", "--split", "7/1")
    description = read_datalist(out / "datalist.json")["description"]
    assert 0.55 < float(re.search(r"mean ([\d.]+)", description)[1]) < 0.7
