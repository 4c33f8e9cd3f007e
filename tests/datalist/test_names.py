"""Names that a datalist leaves out or misspells: cases stay apart, and near misses are named."""

import pytest

from monai_ext.datalist.datalist import items, read_datalist
from monai_ext.datalist.names import distinct_names, misspelled
from monai_ext.errors import InputError
from tests.datalist.test_datalist import entry, minimal, raw


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a/x.nii.gz", "b/y.nii"], ["x", "y"]),
        (["p1/scan.nii.gz", "p2/scan.nii.gz"], ["p1_scan", "p2_scan"]),
        (["s1/p1/x.mha", "s2/p1/x.mha", "s2/p2/x.mha"], ["s1_p1_x", "s2_p1_x", "p2_x"]),
        (["/d/p1/x.NII.GZ", "../d/x.nii"], ["p1_x", "d_x"]),
        (["p1/x.nii", "p1/x.nii"], ["x", "x"]),
        (["p1_x.nii", "p1/x.nii", "p2/x.nii"], ["p1_x", "p1_x", "p2_x"]),  # which the checks refuse
    ],
)
def test_the_shortest_ends_that_differ_are_the_names(paths, names):
    assert distinct_names(paths) == names


def test_a_name_that_is_taken_is_not_given_again():
    assert distinct_names(["p1/x.nii"], taken=["x"]) == ["p1_x"]


def test_cases_are_named_over_all_lists_and_patients_after_them(tmp_path):
    found = [{"image": f"{p}/imaging.nii.gz", "label": f"{p}/seg.nii.gz"} for p in ("p1", "p2", "p3")]
    path = raw(tmp_path, minimal(*found[:2], validation=found[2:], test=[entry("own")]))
    listed = items(path, "training", "validation", "test")
    assert [item["case"] for item in listed] == ["p1_imaging", "p2_imaging", "p3_imaging", "own"]
    assert [item["patient"] for item in listed] == ["p1_imaging", "p2_imaging", "p3_imaging", "own"]


@pytest.mark.parametrize(
    ("found", "meant"),
    [
        (["image", "supervison"], {"supervison": "supervision"}),
        (["image", "LABEL"], {"LABEL": "label"}),
        (["image", "labels", "label"], {}),  # the right one is there, too
        (["image", "image_meta", "age", "center", "patient_age"], {}),
    ],
)
def test_a_key_is_misspelled_if_the_one_it_resembles_is_absent(found, meant):
    assert misspelled(found, ["image", "label", "supervision", "patient", "tags"]) == meant


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            minimal({"image": "a", "supervison": "noisy"}),
            r'training\[0\]: Expected the key "supervision", got "supervison"; correct its spelling',
        ),
        (minimal({"image": "a", "lable": "b"}), 'Expected the key "label", got "lable"'),
        (minimal(entry(supervision="nosy")), "got 'nosy'; write \"noisy\""),
        (minimal(entry(supervision="Full")), "got 'Full'; write \"full\""),
        ({"labels": {"0": "x"}, "train": [], "test": []}, 'Expected the key "training", got "train"'),
        (minimal(valdation=[entry()]), 'Expected the key "validation", got "valdation"'),
        (minimal(entry(image="a\\b.nii")), r'Expected "/" between the folders of a path, got .*a.*b\.nii'),
        (minimal(entry(label=["l.nii"])), r"""Expected "label" to be a text, got \['l\.nii'\]"""),
        ({"channel_names": {"0": "MRI"}, "labels": {"background": 0}}, "got a dataset.json of nnU-Net"),
    ],
)
def test_what_is_written_another_way_is_told(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        read_datalist(raw(tmp_path, content))


def test_a_byte_order_mark_is_no_content(tmp_path):
    path = raw(tmp_path, minimal(entry()))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(items(path, "training")) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"labels": {}, "training": [], "training": []}', 'the key "training" stands twice'),
        ('{"training": []}'.encode("utf-16"), "JSON in UTF-8, got another encoding"),
    ],
)
def test_json_of_another_kind_is_told(tmp_path, content, message):
    path = tmp_path / "datalist.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message):
        read_datalist(path)


def test_the_decathlon_index_is_a_datalist(tmp_path):
    index = {"modality": {"0": "T2", "1": "ADC"}, "numTraining": 1, "reference": "x", "licence": "y"}
    content = read_datalist(raw(tmp_path, minimal(entry(), **index, test=["./imagesTs/a.nii.gz"])))
    assert content["modalities"] == ["T2", "ADC"] and content["test"][0]["supervision"] == "none"
    one = read_datalist(raw(tmp_path, minimal(entry(), modality={"0": "MRI"})))
    assert one["modalities"] == []
