import json
from pathlib import Path

import pytest

from monai_ext.datalist.checks import DataError, check_datalist, require_valid
from tests.datalist.lists import contradict, written


def test_a_datalist_file_is_checked_with_its_references(data, tmp_path):
    contradict(data)
    path = written(data, tmp_path / "datalist.json")
    assert check_datalist(path) == []
    (message,) = check_datalist(path, references=True)
    assert message.startswith(f"training[1] (p2_01): label {data['training'][1]['label']}: ")
    assert check_datalist(path, references=True, sections=["test"]) == []


def test_training_on_a_datalist_file_needs_labels(data, tmp_path):
    image = {"image": Path(data["training"][0]["image"]).name, "supervision": "none"}
    path = tmp_path / "datalist.json"
    path.write_text(json.dumps({"labels": {"0": "background"}, "training": [image]}))
    assert check_datalist(path) == []
    with pytest.raises(DataError, match="Expected an item with a label"):
        require_valid(path)


@pytest.mark.parametrize("text", [None, "{", "[]", '{"training": []}'])
def test_a_datalist_that_cannot_be_read_is_one_problem(tmp_path, text):
    path = tmp_path / "datalist.json"
    if text is not None:
        path.write_text(text)
    (message,) = check_datalist(path)
    assert str(path) in message


def test_a_datalist_file_brings_its_modalities(data, tmp_path):
    path = written(data, tmp_path / "datalist.json", modalities=["t1", "flair"])
    found = check_datalist(path)
    assert len(found) == 4 and all("Expected 2 channels (t1, flair), got 1" in message for message in found)
