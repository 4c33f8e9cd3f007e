from monai_ext.datalist.checks import check_datalist, check_items
from tests.datalist.lists import LABELS, TAGS, only_problem, written


def test_tags_that_agree_with_the_reference_have_no_problem(tagged):
    assert check_items(tagged, LABELS, references=True, scoring_kinds=("full", "tags")) == []
    assert 'Expected supervision "full"' in (message := only_problem(tagged)) and "validation" in message


def test_tags_that_contradict_the_reference_are_counted_once_a_case(tagged):
    tagged["training"][1]["tags"] = [[1, 1, 0, 0]]
    item = tagged["training"][1]
    options = {"references": True, "scoring_kinds": ("full", "tags")}
    message = only_problem(tagged, **options)
    assert message.startswith(f"training[1] (p2_01): tags for {item['image']}: Expected tags that agree with")
    assert f"{item['reference']}, got 2 that do not, first 1 of class 1 in slice 0 (from 0)" in message
    assert check_items(tagged, LABELS, scoring_kinds=("full", "tags")) == []


def test_tags_of_a_full_case_are_compared_with_its_label(data):
    data["validation"][0]["tags"] = [[0, 1, 0, 0]]
    message = only_problem(data)
    assert message.startswith("validation[0] (p3_01): tags for ") and "0 of class 1 in slice 2" in message


def test_tags_of_a_noisy_case_may_contradict(data, noisy):
    noisy["tags"] = [[1, 1, 1, 1]]
    assert check_items(data, LABELS, references=True) == []


def test_a_wrong_number_of_tags_is_told_without_a_reference(tagged):
    tagged["training"][1]["tags"] = [[0, 1, 1, 0, 0]]
    for references in (False, True):
        options = {"references": references, "scoring_kinds": ("full", "tags")}
        message = only_problem(tagged, **options)
        assert message.startswith(
            f"training[1] (p2_01): tags for {tagged['training'][1]['image']}: Expected 4"
        )
        assert "tags of class 1, one for each slice along the last axis, got 5;" in message


def test_a_validation_list_may_be_tagged_if_the_training_list_is(tagged, tmp_path):
    path = written(tagged, tmp_path / "datalist.json")
    assert check_datalist(path, references=True) == []
    assert check_datalist(path, sections=["validation"]) == []
    tagged["training"][1] |= {"supervision": "none"}
    assert 'got "tags"' in check_datalist(written(tagged, path))[0]


def test_a_test_list_may_not_be_tagged(tagged):
    tagged["test"][0] |= {"supervision": "tags", "tags": TAGS}
    message = only_problem(tagged, scoring_kinds=("full", "tags"))
    assert message.startswith('test[0] (p4_01): Expected supervision "full"')


def test_a_training_list_of_equal_tags_is_a_problem(tagged):
    item = tagged["training"][1] | {"tags": [[1, 1, 1, 1]]}
    unlabeled = {**tagged["test"][0], "supervision": "none", "label": None}
    message = only_problem({"training": [item, unlabeled]})
    assert message.startswith("training: Expected slices with and without class 1, got the tag 1 in every")
    full = tagged["training"][0]
    assert check_items({"training": [item, full]}, LABELS) == []
