"""Every bundle trains, evaluates, infers and exports; how it lies in the repository is test_bundles.py."""

import json
import re

import monai.bundle
import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow

from monai_ext.datalist.datalist import items
from monai_ext.failures import message_of
from monai_ext.report import Predictor
from tests.bundles.conftest import CONFIGS, read_image

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")  # MONAI: a config is code


@pytest.mark.parametrize("kind", ["train", "infer"])
def test_every_property_that_monai_looks_up_is_there(request, data, kind, monkeypatch):
    bundle = request.getfixturevalue("trained" if kind == "infer" else "bundle")
    monkeypatch.chdir(bundle.root)
    files, options = bundle.options(kind, **({"input": str(data / "images")} if kind == "infer" else {}))
    workflow = ConfigWorkflow(files, workflow_type=kind, logging_file=False, **options)
    workflow.initialize()
    assert workflow.check_properties() == []


@pytest.mark.parametrize("what", CONFIGS)
def test_a_tool_may_initialize_and_look_around_before_there_are_data(bundle, what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = [str(bundle.root / file) for file in CONFIGS[what]]
    kind = "infer" if what == "infer" else "train"
    monai.bundle.create_workflow(config_file=files, workflow_type=kind, logging_file=False)
    workflow = ConfigWorkflow(files, workflow_type=kind, logging_file=False)
    workflow.initialize()
    assert workflow.check_properties() == []
    assert {path.name for path in tmp_path.iterdir()} == {bundle.root.name}


def test_an_evaluation_that_a_tool_has_looked_through_writes_no_weights(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(trained.root)
    before = {file: file.read_bytes() for file in trained.models.rglob("*") if file.is_file()}
    files, options = trained.options("evaluate", output_dir=str(tmp_path))
    workflow = ConfigWorkflow(files, workflow_type="train", logging_file=False, **options)
    workflow.initialize()
    assert workflow.check_properties() == []
    workflow.run()
    workflow.finalize()
    assert before == {file: file.read_bytes() for file in trained.models.rglob("*") if file.is_file()}
    assert not (tmp_path / "tensorboard").exists()


def test_training_leaves_weights_state_and_curves_and_nothing_elsewhere(trained):
    assert {file.name for file in trained.models.rglob("*") if file.is_file()} == {
        "model.pt",
        "checkpoint.pt",
        "run.lock",
    }
    assert list((trained.root / "eval" / "tensorboard").iterdir())
    assert {file.name for file in trained.root.iterdir()} <= {
        "LICENSE",
        "configs",
        "docs",
        "models",
        "eval",
        "cache",
    }


def assert_form(part, class_names):
    """The form of summary.json that is the same in every bundle, for one prediction."""
    metrics = {"dice", "hd95"}
    assert set(part) == {"mean", "classes", "cases"}
    assert set(part["mean"]) == metrics and set(part["classes"]) == class_names
    assert part["cases"]
    for case in part["cases"]:
        assert set(case) == {"case", "classes"} and set(case["classes"]) == class_names
        assert all(set(scores) == metrics for scores in case["classes"].values())


@pytest.fixture(scope="session")
def summary(trained):
    trained.run("evaluate")
    text = (trained.root / "eval" / "summary.json").read_text(encoding="utf-8")
    return json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def test_evaluation_scores_the_test_list_in_the_form_of_every_bundle(trained, tiny, data, summary):
    content = json.loads((data / "datalist.json").read_text())
    class_names = {name for index, name in content["labels"].items() if index != "0"}
    rest = dict(summary)
    assert rest.pop("unit") == content["unit"]
    further = [rest.pop(key) for key in tiny.also]
    for part in (rest, *further):
        assert_form(part, class_names)
        assert [case["case"] for case in part["cases"]] == [item["case"] for item in content["test"]]
    assert (trained.root / "eval" / "cases.csv").is_file()


def test_evaluation_falls_back_to_the_validation_list_and_leaves_the_weights(
    trained, write_datalist, tmp_path
):
    before = (trained.models / "model.pt").read_bytes()
    folder = write_datalist(lambda content: content.update(test=[]))
    trained.run("evaluate", dataset_dir=str(folder), output_dir=str(tmp_path))
    scored = json.loads((tmp_path / "summary.json").read_text())["cases"]
    wanted = json.loads((folder / "datalist.json").read_text())["validation"]
    assert [case["case"] for case in scored] == [item["case"] for item in wanted]
    assert (trained.models / "model.pt").read_bytes() == before


def test_evaluation_without_weights_says_so(bundle):
    message = bundle.complaint("evaluate")
    assert re.match(r"Expected trained weights at .*model.pt, found none; train the", message)


def tilted(angle=0.3):
    """An affine that is neither diagonal nor of unit spacing."""
    cosine, sine = np.cos(angle), np.sin(angle)
    axes = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]]) * [1.3, 0.9, 7.0]
    return np.block([[axes, np.array([[-20.0], [5.0], [3.0]])], [np.zeros((1, 3)), 1]])


def test_inference_keeps_shape_and_affine_of_every_image_of_a_folder(trained, data, tmp_path):
    (tmp_path / "images").mkdir()
    array = read_image(items(data / "datalist.json", "test")[0])
    arrays = {"a.nii.gz": array, "b.nii": array[5:-8, :-3]}
    for file, content in arrays.items():
        nib.save(nib.Nifti1Image(content, tilted()), tmp_path / "images" / file)
    trained.run("infer", input=str(tmp_path / "images"), output_dir=str(tmp_path / "out"))
    results = {
        path.name.replace("_seg.nii.gz", ""): nib.load(path)
        for path in (tmp_path / "out").glob("*_seg.nii.gz")
    }
    about = json.loads((trained.root / "configs" / "metadata.json").read_text())["network_data_format"]
    assert sorted(results) == ["a", "b"]
    for (file, content), result in zip(arrays.items(), (results["a"], results["b"]), strict=True):
        assert result.shape == content.shape[:3], file
        np.testing.assert_allclose(result.affine, tilted(), atol=1e-4)
        assert set(np.unique(result.get_fdata())) <= {int(k) for k in about["outputs"]["pred"]["channel_def"]}


def test_inference_on_one_file_is_what_the_evaluation_scored(trained, data, summary, tmp_path):
    case = items(data / "datalist.json", "test")[0]
    affine = nib.load(case["label"]).affine
    nib.save(nib.Nifti1Image(read_image(case), affine), tmp_path / "case.nii.gz")
    trained.run("infer", input=str(tmp_path / "case.nii.gz"), output_dir=str(tmp_path / "out"))
    [file] = (tmp_path / "out").glob("*_seg.nii.gz")
    found, truth = nib.load(file).get_fdata(), nib.load(case["label"]).get_fdata()
    for value, scores in enumerate(summary["cases"][0]["classes"].values(), start=1):
        pair = found == value, truth == value
        dice = 2 * np.logical_and(*pair).sum() / sum(mask.sum() for mask in pair)
        assert scores["dice"] == pytest.approx(dice, abs=1e-4)


def test_the_predictor_of_the_pictures_gives_what_inference_saves(trained, tiny, data, tmp_path):
    case = items(data / "datalist.json", "test")[0]
    predictor = Predictor(trained.root, data, overrides=tiny.network)
    found = predictor({key: case[key] for key in ("image", "label")})
    image = nib.Nifti1Image(read_image(case), nib.load(case["label"]).affine)
    nib.save(image, tmp_path / "case.nii.gz")
    trained.run("infer", input=str(tmp_path / "case.nii.gz"), output_dir=str(tmp_path / "out"))
    assert list(found)[-1] == "pred"
    assert np.array_equal(found["pred"], nib.load(tmp_path / "out" / "case_seg.nii.gz").get_fdata())


def test_inference_without_an_image_says_where_it_looked(trained, tmp_path):
    with pytest.raises(RuntimeError) as stopped:
        trained.run("infer", input=str(tmp_path))
    assert re.match(f"Expected .* at {tmp_path}, found none; set --input", str(message_of(stopped.value)))


def test_a_copied_bundle_exports_a_network_that_computes_the_same(trained, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config, meta = (str(trained.root / "configs" / name) for name in ("inference.yaml", "metadata.json"))
    weights, exported = str(trained.models / "model.pt"), str(tmp_path / "model.ts")
    monai.bundle.ckpt_export(
        "network_def", exported, ckpt_file=weights, meta_file=meta, config_file=config, **tiny.network
    )
    parser = ConfigParser()
    parser.read_config(config)
    parser.read_meta(meta)
    parser.update(tiny.network)
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(trained.load("model.pt"))
    image = parser["_meta_"]["network_data_format"]["inputs"]["image"]
    batch = torch.rand(2, tiny.channels, *[64] * len(image["spatial_shape"]))
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.load(exported)(batch), network(batch))


def test_more_classes_need_one_number(bundle, tiny, tmp_path):
    if tiny.more_classes is None:
        pytest.skip("the bundle's classes are fixed")
    make_data, overrides = tiny.more_classes
    bundle.data = make_data(tmp_path / "more")
    bundle.run("train", epochs=1, **overrides)
    bundle.run("evaluate", **overrides)
    names = list(json.loads((bundle.data / "datalist.json").read_text())["labels"].values())
    assert list(json.loads((bundle.root / "eval" / "summary.json").read_text())["classes"]) == names[1:]
