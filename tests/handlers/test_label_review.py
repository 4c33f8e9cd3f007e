import csv
import json
import logging
import math

import matplotlib.image
import nibabel as nib
import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from ignite.engine import Engine, Events
from monai.transforms import Compose, LoadImaged
from torch import nn

from monai_ext.data import DeviceCache, LabelJournal
from monai_ext.handlers import LabelCorrection, LabelReview, MemorizationDetector
from monai_ext.handlers.label_review import disagreement, doubt
from monai_ext.inferers import AveragingInferer, SliceBatchInferer
from monai_ext.keys import IMAGE, LABEL, SUPERVISION, UNLABELED
from monai_ext.transforms import CorrectLabels

K = 3
NAMES = {"0": "background", "1": "cavity", "2": "wall"}


class Scripted(MemorizationDetector):
    """Detects class 1 in the second epoch and class 2 never."""

    def reason(self, k, max_epochs):
        return "as scripted" if k == 1 and len(self.iou[k]) >= 2 else None


class Certain(nn.Module):
    """Predicts the class whose index is the intensity."""

    def __init__(self):
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(3.0))

    def forward(self, x):
        return -self.sharpness * (x - torch.arange(K).view(1, K, 1, 1)).square()


def boxes(*classes):
    """(10, 8, 3): a box of 24 voxels for each class."""
    truth = np.zeros((10, 8, 3), np.uint8)
    for k in classes:
        truth[1:5, 4 * k - 4 : 4 * k - 1, 1:] = k
    return truth


def half(truth, k):
    """The label without half of a class."""
    label = truth.copy()
    label[:3][label[:3] == k] = 0
    return label


CASES = {
    "clean": (boxes(1, 2), boxes(1, 2)),
    "half": (boxes(1, 2), half(boxes(1, 2), 1)),
    "missing": (boxes(1, 2), boxes(2)),
    "invented": (boxes(1), boxes(1, 2)),
    "cavity_only": (boxes(1), half(boxes(1), 1)),
    "empty": (boxes(), boxes()),
}
"""What the network sees and what the label says."""


def write(folder, truth, label, name, kind="noisy"):
    item = {"case": name, SUPERVISION: kind}
    for key, array in ((IMAGE, truth.astype(np.float32)), (LABEL, label)):
        item[key] = str(folder / f"{name}_{key}.nii.gz")
        nib.save(nib.Nifti1Image(array, np.diag([2.0, 2, 5, 1])), item[key])
    return item


def make_review(folder, cases=tuple(CASES), names=NAMES):
    data = [write(folder, *CASES[name], name) for name in cases]
    data.append(write(folder, boxes(1, 2), boxes(), "trusted", kind="full"))
    load = Compose([LoadImaged([IMAGE, LABEL], ensure_channel_first=True)])
    correction = LabelCorrection(
        LabelJournal(DeviceCache(data, load, progress=False)),
        Certain(),
        Scripted(K),
        CorrectLabels(),
        SliceBatchInferer(autocast=False),
        AveragingInferer(autocast=False),
        interval=1,
    )
    return LabelReview(correction, str(folder / "review"), names)


def run(review, epochs=4):
    """Go through the slices in two batches an epoch."""
    cache = review.journal.cache
    entries = torch.arange(len(cache)).chunk(2)

    def step(engine, numbers):
        engine.state.batch = batch = cache.gather(numbers, torch.Generator())
        return {"pred": Certain()(batch[IMAGE]), "label": batch[LABEL]}

    engine = Engine(step)
    review.attach(engine)
    engine.run(entries, max_epochs=epochs)
    return engine


def table(folder, name):
    with (folder / "review" / name).open(newline="") as file:
        return list(csv.reader(file))


def by_hand(pred, label):
    """1 - Dice of classes 1 and 2, voxel by voxel; NaN where both are empty."""
    found = []
    for k in (1, 2):
        known = [(p, y) for p, y in zip(pred.flat, label.flat, strict=True) if y != UNLABELED]
        pairs = [(int(p == k), int(y == k)) for p, y in known]
        total = sum(p + y for p, y in pairs)
        found.append(1 - 2 * sum(p * y for p, y in pairs) / total if total else math.nan)
    return found


def doubt_by_hand(probs, label):
    """1 - the geometric mean of the label's probability over R, voxel by voxel."""
    kept = []
    for p, y in zip(probs.reshape(K, -1).T, label.flat, strict=True):
        if y != UNLABELED and (y > 0 or p.argmax() > 0):
            kept.append(p[y])
    return 1 - float(scipy.stats.gmean(kept)) if kept else 0.0


@pytest.fixture(params=[(7, 6), (5, 4, 3)], ids=["2d", "3d"])
def probs(request):
    return torch.randn(K, *request.param).softmax(dim=0)


@pytest.fixture(params=[(0, 1, 2), (0, 1, 2, UNLABELED), (0, 1), (0,), (2, UNLABELED), (UNLABELED,)], ids=str)
def label(request, probs):
    values = torch.tensor(request.param, dtype=torch.uint8)
    return values[torch.randint(0, len(values), (1, *probs.shape[1:]))]


def test_disagreement_is_the_missing_dice_over_the_labeled_voxels(probs, label):
    wanted = by_hand(probs.argmax(dim=0).numpy(), label[0].numpy())
    assert disagreement(probs, label) == pytest.approx(wanted, abs=1e-6, nan_ok=True)


def test_doubt_is_the_missing_probability_of_the_label_where_there_are_organs(probs, label):
    assert doubt(probs, label) == pytest.approx(doubt_by_hand(probs.numpy(), label.numpy()), abs=1e-6)


def test_background_that_nobody_contradicts_raises_no_doubt():
    probs = torch.tensor([0.6, 0.2, 0.2]).view(K, 1, 1).expand(K, 4, 4)
    assert doubt(probs, torch.zeros(1, 4, 4, dtype=torch.uint8)) == 0


def test_one_voxel_of_an_absent_class_hardly_raises_the_doubt():
    label = torch.zeros(1, 20, 20, dtype=torch.uint8)
    label[:, :10] = 1
    sure = nn.functional.one_hot(label[0].long(), K).movedim(-1, 0).float()
    label[0, 0, 0] = 2
    assert disagreement(sure, label) == pytest.approx([1 - 2 * 199 / 399, 1], abs=1e-6)
    assert doubt(sure, label) == pytest.approx(1 - 1e-7 ** (1 / 200))  # 0.08


def test_what_the_network_contradicts_with_certainty_is_doubted_more():
    label = torch.ones(1, 4, 4, dtype=torch.uint8)
    doubts = [
        doubt(torch.tensor([1 - p, p, 0]).view(K, 1, 1).expand(K, 4, 4), label) for p in (0.9, 0.5, 0.1)
    ]
    assert doubts == pytest.approx([0.1, 0.5, 0.9])


@pytest.mark.parametrize("pred", [1, 0])
@pytest.mark.parametrize("label", [1, 0, UNLABELED])
def test_there_is_no_agreement_on_a_class_that_only_one_of_both_has(pred, label):
    probs = nn.functional.one_hot(torch.full((4, 4), pred), K).movedim(-1, 0).float()
    wanted = {(1, 1): 0.0, (1, 0): 1.0, (0, 1): 1.0}.get((pred, label), math.nan)
    found = disagreement(probs, torch.full((1, 4, 4), label, dtype=torch.uint8))
    assert found == pytest.approx([wanted, math.nan], nan_ok=True)


def doubt_of_certain(truth, label):
    """The doubt of ``Certain``'s probabilities, by hand."""
    probs = scipy.special.softmax(-3.0 * (truth - np.arange(K)[:, None, None, None]) ** 2.0, axis=0)
    return doubt_by_hand(probs, label)


def test_the_most_doubtful_case_comes_first(tmp_path):
    review = make_review(tmp_path)
    run(review)
    heading, *rows = table(tmp_path, "ranking.csv")
    assert heading == ["rank", "case", "doubt", "1 - Dice of cavity", "1 - Dice of wall", "corrected voxels"]
    total = {name: doubt_of_certain(*pair) for name, pair in CASES.items()}
    order = sorted(total, key=lambda name: -total[name])  # equal ones in the order of the datalist
    assert [row[:2] for row in rows] == [[str(n), name] for n, name in enumerate(order, start=1)]
    for _, name, *numbers, _ in rows:
        scores = [f"{value:.4f}" for value in by_hand(*CASES[name])]
        assert float(numbers[0]) == pytest.approx(total[name], abs=1e-4) and numbers[1:] == scores
    assert order == ["invented", "cavity_only", "missing", "half", "clean", "empty"]


def test_corrected_voxels_are_counted_once_however_often_they_changed(tmp_path):
    review = make_review(tmp_path)
    engine = run(review)
    label = review.journal.cache.volume(1)[1].clone()
    for value in (2, 1, 0):
        label[0, 0, 0, 0] = value
        review.journal.replace(1, label, epoch=9)
    review(engine)
    corrected = {row[1]: int(row[-1]) for row in table(tmp_path, "ranking.csv")[1:]}
    assert corrected == dict.fromkeys(CASES, 0) | {"half": 12, "cavity_only": 12}


def test_every_change_is_in_the_table(tmp_path):
    review = make_review(tmp_path, ["half", "clean"])
    run(review)
    label = review.journal.cache.volume(1)[1].clone()
    label[0, 0, :3, 0], label[0, 1, 4:6, 1] = 1, UNLABELED
    review.journal.replace(1, label, epoch=7)
    review.write_changes()
    assert table(tmp_path, "changes.csv") == [
        ["case", "epoch", "from", "to", "voxels"],
        ["half", "2", "background", "cavity", "12"],
        ["clean", "7", "background", "cavity", "3"],
        ["clean", "7", "wall", "unlabeled", "2"],
    ]


def test_corrected_labels_are_written_and_the_files_stay(tmp_path):
    run(make_review(tmp_path))
    written = sorted(path.name for path in (tmp_path / "review" / "corrected").iterdir())
    assert written == ["cavity_only.nii.gz", "half.nii.gz"]
    corrected = nib.load(tmp_path / "review" / "corrected" / "half.nii.gz")
    np.testing.assert_array_equal(np.asarray(corrected.dataobj), CASES["half"][0])
    given = nib.load(tmp_path / "half_label.nii.gz")
    np.testing.assert_array_equal(np.asarray(given.dataobj), CASES["half"][1])
    np.testing.assert_array_equal(corrected.affine, given.affine)


def test_curves_are_drawn_with_a_detection_and_at_the_end(tmp_path):
    review, drawn = make_review(tmp_path), []
    write_curves = review.write_curves
    engine = Engine(lambda engine, batch: None)
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda e: review.correction.detector.update([0.5, 0], 4))
    review.correction.attach = lambda engine: None
    review.write_curves = lambda: (drawn.append(engine.state.epoch), write_curves())
    review.attach(engine)
    engine.run([0], max_epochs=4)
    assert drawn == [2, 4]
    picture = matplotlib.image.imread(tmp_path / "review" / "curves.png")
    assert picture.shape[0] > 200 and picture.std() > 0


def test_the_numbers_of_the_curves_are_json_by_class_name(tmp_path):
    review = make_review(tmp_path)
    run(review)
    text = (tmp_path / "review" / "curves.json").read_text(encoding="utf-8")
    content = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert list(content) == ["cavity", "wall"]
    assert content["cavity"]["iou"] == pytest.approx(review.correction.detector.iou[1])
    assert len(content["cavity"]["iou"]) == 4
    assert (content["cavity"]["detected"], content["cavity"]["reason"]) == (2, "as scripted")
    assert content["wall"]["detected"] is None


def test_classes_without_a_name_are_numbered(tmp_path):
    run(make_review(tmp_path, ["half"], names={"0": "background", "2": "wall"}))
    assert table(tmp_path, "ranking.csv")[0][3:5] == ["1 - Dice of class 1", "1 - Dice of wall"]
    assert table(tmp_path, "changes.csv")[1][2:4] == ["background", "class 1"]


def test_the_log_names_the_most_doubtful_cases(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    run(make_review(tmp_path))
    wanted = (
        f"wrote {tmp_path / 'review'}: corrected labels of 2 of 6 noisy cases; most doubtful: invented, c"
    )
    assert wanted in caplog.text


def test_without_noisy_cases_the_files_are_empty_tables(tmp_path):
    run(make_review(tmp_path, []))
    assert len(table(tmp_path, "ranking.csv")) == len(table(tmp_path, "changes.csv")) == 1
    assert list((tmp_path / "review" / "corrected").iterdir()) == []


def test_other_processes_than_the_first_decide_but_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("ignite.distributed.get_rank", lambda: 1)
    review = make_review(tmp_path, ["clean", "half"])
    review.correction.enabled = False  # one process cannot correct the part of another
    run(review)
    assert review.correction.detector.detected == {1: 2}
    assert not (tmp_path / "review").exists()
