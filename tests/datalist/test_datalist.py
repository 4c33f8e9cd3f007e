"""Datalists: what is written comes back, defaults, hidden references, and messages."""

import json
from pathlib import Path

import pytest

from monai_ext.datalist.datalist import items, read_datalist, write_datalist
from monai_ext.errors import InputError
from monai_ext.keys import Supervision

LABELS = {0: "background", 1: "left ventricle cavity"}


def entry(case="a_01", **changes):
    item = {"image": f"images/{case}.nii.gz", "label": f"labels/{case}.nii.gz"}
    return item | {"supervision": "full", "case": case, "patient": case.split("_")[0]} | changes


def raw(folder, content):
    path = folder / "datalist.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def minimal(*training, **changes):
    return {"labels": {"0": "background", "1": "heart"}, "training": list(training)} | changes


def test_what_is_written_is_read(tmp_path):
    weak = entry("b_01", supervision=Supervision.PARTIAL, reference="reference/b_01.nii.gz")
    path = write_datalist(
        tmp_path / "d.json",
        name="ACDC",
        labels=LABELS,
        unit="voxel",
        description="x",
        training=[entry(), weak],
    )
    content = read_datalist(path)
    assert (content["name"], content["description"], content["unit"]) == ("ACDC", "x", "voxel")
    assert content["labels"] == {"0": "background", "1": "left ventricle cavity"}
    assert content["training"] == [entry(), weak | {"supervision": "partial"}]
    assert content["validation"] == content["test"] == []
    assert [p.name for p in tmp_path.iterdir()] == ["d.json"]


def test_items_have_absolute_paths_and_no_reference(tmp_path):
    weak = entry(image=["t1.nii", "./flair.nii"], reference="../full.nii.gz", supervision="partial", age=50)
    path = write_datalist(tmp_path / "d.json", name="", labels=LABELS, training=[weak])
    (item,) = items(path, "training")
    assert item["image"] == [str(tmp_path / "t1.nii"), str(tmp_path / "flair.nii")]
    assert item["label"] == str(tmp_path / "labels/a_01.nii.gz")
    assert item["age"] == 50 and item["supervision"] == "partial" and type(item["supervision"]) is str
    assert "reference" not in item


def test_modalities_and_tags_are_read_as_they_were_written(tmp_path):
    item = entry(image=["a_t1.nii", "a_flair.nii"], supervision="tags", tags=[[0, 1, 1], [0, 0, 1]])
    del item["label"]
    lists = {"training": [item], "modalities": ("t1", "flair")}
    path = write_datalist(tmp_path / "d.json", name="", labels=LABELS, **lists)
    assert read_datalist(path)["modalities"] == ["t1", "flair"]
    assert read_datalist(path)["training"] == [item]
    assert items(path, "training")[0]["tags"] == [[0, 1, 1], [0, 0, 1]]


def test_one_modality_needs_no_name(tmp_path):
    path = write_datalist(tmp_path / "d.json", name="", labels=LABELS, training=[entry()])
    assert "modalities" not in json.loads(path.read_text())
    assert read_datalist(path)["modalities"] == []


def test_the_digest_of_each_label_file_is_written(tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a_01.nii.gz").write_bytes(b"abc")
    given = [entry(), entry("b_01")]
    path = write_datalist(tmp_path / "d.json", name="", labels=LABELS, training=given, test=given[:1])
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of "abc", in FIPS 180-2
    content = read_datalist(path)
    assert content["training"] == [entry(label_sha256=known), entry("b_01")]
    assert items(path, "test")[0]["label_sha256"] == known
    assert "label_sha256" not in given[0]


@pytest.mark.parametrize("own", ["0" * 64, None])
def test_a_digest_that_an_item_brings_is_kept(tmp_path, own):
    (tmp_path / "a.nii").write_bytes(b"abc")
    given = entry(label=tmp_path / "a.nii", label_sha256=own)
    path = write_datalist(tmp_path / "d.json", name="", labels=LABELS, training=[given])
    assert read_datalist(path)["training"][0]["label_sha256"] == own


def test_a_name_that_is_also_a_folder_stays_a_name(tmp_path):
    (tmp_path / "a").mkdir()
    path = write_datalist(tmp_path / "d.json", name="", labels=LABELS, test=[entry()])
    assert items(path, "test")[0]["patient"] == "a"


def test_items_are_absolute_for_a_relative_datalist(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_datalist("d.json", name="", labels=LABELS, test=[entry(image=tmp_path / "deep" / "i.nii")])
    assert read_datalist(path)["test"][0]["image"] == "deep/i.nii"
    assert items("d.json", "test")[0]["image"] == str(tmp_path / "deep" / "i.nii")


def test_the_first_list_with_cases_is_taken(tmp_path):
    path = write_datalist(
        tmp_path / "d.json", name="", labels=LABELS, training=[entry("c")], validation=[entry("v")]
    )
    assert [i["case"] for i in items(path, "test", "validation", first_available=True)] == ["v"]
    assert [i["case"] for i in items(path, "validation", "training", first_available=True)] == ["v"]
    assert [i["case"] for i in items(path, "test", "validation", "training")] == ["v", "c"]
    with pytest.raises(ValueError, match="Expected cases under test, found none"):
        items(path, "test", first_available=True)


def test_what_an_entry_leaves_out_is_filled_in(tmp_path):
    path = raw(
        tmp_path, minimal({"image": "./images/a.b.nii.gz", "label": "l.nii"}, test=["./images/c.nii.gz"])
    )
    content = read_datalist(path)
    assert (
        content["training"][0] | {"supervision": "full", "case": "a.b", "patient": "a.b"}
        == content["training"][0]
    )
    assert content["test"] == [
        {"image": "./images/c.nii.gz", "supervision": "none", "case": "c", "patient": "c"}
    ]
    assert content["unit"] == "mm" and content["name"] == tmp_path.name


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"datalist\.json: Expected JSON, got an error: .*line 1"),
        ([], "JSON object with one of the lists training, validation, test"),
        ({"labels": {"0": "a"}}, "one of the lists training"),
        ({"training": []}, 'Expected "labels" with a name for each class.*got None'),
        (minimal(labels={"background": 0}), 'Expected "labels"'),
        (minimal(labels={"0": "a", "2": "b"}), "without gaps"),
        (minimal(unit="cm"), "\"unit\" one of mm, voxel, got 'cm'"),
        (minimal(test={}), 'Expected "test" to be a list'),
        (minimal(entry(), 3), r"datalist\.json: training\[1\]: Expected an object"),
        (minimal({"label": "l.nii"}), r'training\[0\]: Expected "image" to be a path'),
        (minimal(entry(image=[])), 'Expected "image" to be a path or a list of paths, got \\[\\]'),
        (
            minimal(entry(), entry(supervision="weak")),
            r"training\[1\]: Expected supervision one of full, .*, got .weak.; ",
        ),
        (minimal(entry(supervision=["full"])), r"training\[0\]: Expected supervision one of"),
        (minimal({"image": "i.nii"}), r'training\[0\]: Expected "label" for supervision "full", got none'),
        (minimal(entry(patient=3)), 'Expected "patient" to be a text, got 3'),
        (
            minimal(entry(supervision="tags")),
            r'training\[0\]: Expected "tags" for supervision "tags", got none',
        ),
        (minimal(modalities="t1"), r"datalist\.json: Expected \"modalities\" .* different names, got 't1'"),
        (minimal(modalities=["t1", ""]), 'Expected "modalities" to be a list of different names'),
        (minimal(modalities=["t1", "T1"]), 'Expected "modalities" to be a list of different names'),
    ],
)
def test_says_which_entry_is_wrong(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read_datalist(raw(tmp_path, content))


def test_says_which_file_is_missing(tmp_path):
    with pytest.raises(InputError, match=r"Expected a datalist at .*none\.json, found none"):
        read_datalist(tmp_path / "none.json")


@pytest.mark.parametrize("sections", [(), ("train",)])
def test_an_unknown_list_is_refused(tmp_path, sections):
    with pytest.raises(ValueError, match="Expected sections among training, validation, test"):
        items(raw(tmp_path, minimal()), *sections)


def test_a_refused_datalist_leaves_the_old_one(tmp_path):
    path = raw(tmp_path, minimal())
    before = path.read_text()
    with pytest.raises(ValueError, match=r"validation\[0\]"):
        write_datalist(path, name="", labels=LABELS, validation=[entry(supervision="weak")])
    assert path.read_text() == before and list(Path(tmp_path).iterdir()) == [path]


@pytest.mark.parametrize("case", ["../a1", "/tmp/a1", "a" * 201])
def test_a_case_that_cannot_name_files_is_refused(tmp_path, case):
    path = raw(tmp_path, minimal(entry(), entry(case=case, patient="b")))
    with pytest.raises(
        InputError, match=r'training\[1\]: Expected "case" to be a name for files.*'
    ) as caught:
        read_datalist(path)
    assert "\n" not in str(caught.value)


def test_two_classes_of_one_name_are_refused(tmp_path):
    path = raw(tmp_path, minimal(labels={"0": "background", "1": "heart", "2": "heart"}))
    with pytest.raises(
        InputError, match=r'Expected "labels" .* got "heart" for 1 and 2; name the classes apart.'
    ):
        read_datalist(path)


def test_json_that_is_too_deep_is_refused(tmp_path):
    path = raw(tmp_path, '{"training": ' + "[" * 200_000 + "]" * 200_000 + "}")
    with pytest.raises(InputError, match="Expected a datalist, got brackets within brackets"):
        read_datalist(path)
