import json
from pathlib import Path

import pytest
import yaml

from monai_ext.demo import DEMOS, bundle_command, files, make_room, run_demo, tell
from monai_ext.errors import InputError
from monai_ext.resources import bundle_folder


def refused(data, out):
    with pytest.raises(InputError) as caught:
        make_room(data, out)
    return str(caught.value)


def test_an_unknown_bundle_is_named(tmp_path):
    with pytest.raises(InputError, match=r"bundle among .*lv_mixed_supervision_segmentation.*, got 'brain'"):
        run_demo("brain", None, tmp_path)


def test_every_bundle_has_a_demo():
    assert set(DEMOS) == {
        path.parent.name for path in (Path(__file__).parents[1] / "bundles").glob("*/configs")
    }


def test_only_an_earlier_demo_is_replaced(tmp_path):
    (tmp_path / "thesis.txt").touch()
    assert "got other files" in refused(None, tmp_path) and (tmp_path / "thesis.txt").exists()
    (tmp_path / "thesis.txt").unlink()
    make_room(None, tmp_path)
    (tmp_path / "data").mkdir()
    make_room(None, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".demo"]


@pytest.mark.parametrize(("data", "out"), [("demo/raw", "demo"), ("raw", "raw/demo"), ("raw", "raw")])
def test_data_and_output_are_kept_apart(tmp_path, data, out):
    (tmp_path / data).mkdir(parents=True)
    make = tmp_path / out
    make.mkdir(parents=True, exist_ok=True)
    (make / ".demo").touch()
    assert "Expected the data apart from" in refused(tmp_path / data, make)
    assert (tmp_path / data).is_dir()


def test_missing_data_are_named(tmp_path):
    assert f"raw data at {tmp_path / 'none'}, found none" in refused(tmp_path / "none", tmp_path / "out")


def test_commands_are_those_of_monai():
    words = bundle_command("run", files("train", "demo"), dataset_dir=Path("/data"))
    config = "['configs/train.yaml', 'configs/demo.yaml']"
    assert words == ["-m", "monai.bundle", "run", "--config_file", config, "--dataset_dir", "/data"]


@pytest.mark.parametrize("bundle", DEMOS)
@pytest.mark.parametrize("config", ["train", "inference"])
def test_mix_ins_of_a_demo_override_what_training_and_inference_have(bundle, config):
    configs = bundle_folder(bundle) / "configs"
    known = yaml.safe_load((configs / f"{config}.yaml").read_text(encoding="utf-8"))
    for name in DEMOS[bundle].mix_ins:
        assert yaml.safe_load((configs / f"{name}.yaml").read_text(encoding="utf-8")).keys() <= known.keys()


SCORES = {"unit": "mm", "mean": {"dice": 0.9, "hd95": 2.0}}


@pytest.mark.parametrize(
    ("summary", "test", "lines"),
    [
        (SCORES, [], ["prediction: mean Dice 0.900, HD95 2.0 mm, validation cases"]),
        (
            {**SCORES, "teacher": {"mean": {"dice": 0.8, "hd95": 3.0}}},
            ["case"],
            [
                "student: mean Dice 0.900, HD95 2.0 mm, test cases",
                "teacher: mean Dice 0.800, HD95 3.0 mm, test cases",
            ],
        ),
    ],
)
def test_the_last_lines_say_whose_scores_on_which_cases(tmp_path, capsys, summary, test, lines):
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "summary.json").write_text(json.dumps(summary))
    tell(tmp_path, tmp_path / "sheet.png", {"name": "toy", "test": test})
    told = capsys.readouterr().out.splitlines()
    assert [line for line in told if "mean Dice" in line] == lines
