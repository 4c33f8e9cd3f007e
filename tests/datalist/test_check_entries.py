import pytest

from monai_ext.datalist.check_entries import parse_entries
from monai_ext.datalist.check_overlaps import overlap_problems
from monai_ext.keys import Supervision


def item(case, patient, **changes):
    found = {"image": f"{case}.nii.gz", "label": f"{case}_label.nii.gz", "supervision": "full"}
    return {**found, "case": case, "patient": patient, **changes}


def only_problem(sections):
    entries, problems = parse_entries(sections)
    ((_, message),) = problems + overlap_problems(entries)
    return message


def test_a_clean_list_has_no_problem_and_keeps_its_order():
    sections = {"training": [item("a1", "a"), item("a2", "a")], "test": [item("b1", "b")]}
    entries, problems = parse_entries(sections)
    assert problems == [] and overlap_problems(entries) == []
    assert [entry.name for entry in entries] == ["training[0] (a1)", "training[1] (a2)", "test[0] (b1)"]
    assert [entry.order for entry in entries] == [0, 1, 2]


def test_a_patient_is_reported_once_for_each_further_section():
    sections = {"training": [item("a1", "a")], "validation": [item("a2", "a"), item("a3", "a")]}
    sections["test"] = [item("a4", "a")]
    entries, _ = parse_entries(sections)
    second, third = overlap_problems(entries)
    assert second[0] == 1 and second[1].startswith(
        "validation[0] (a2): Expected patient a in one section only"
    )
    assert third[0] == 3 and "in test and in training (training[0] (a1))" in third[1]


def test_an_image_in_two_sections_is_found_under_another_name(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    training = [item("a1", "a", image=str(tmp_path / "x.nii"))]
    test = [item("b1", "b", image=["other.nii", str(tmp_path / "link" / "x.nii")])]
    message = only_problem({"training": training, "test": test})
    assert message.startswith(f"test[0] (b1): Expected image {tmp_path / 'x.nii'}")
    assert "training[0] (a1)" in message


def test_items_without_a_patient_are_patients_of_their_own():
    sections = {"training": [{"image": "a", "label": "b"}], "test": [{"image": "c", "label": "d"}]}
    entries, problems = parse_entries(sections)
    assert problems == [] and overlap_problems(entries) == []


@pytest.mark.parametrize("kind", ["partial", "tags", "noisy", "none"])
def test_sections_that_score_must_be_fully_labeled(kind):
    message = only_problem({"validation": [item("a1", "a", supervision=kind)]})
    assert (
        message.startswith('validation[0] (a1): Expected supervision "full"') and f'got "{kind}"' in message
    )


@pytest.mark.parametrize("kind", ["weak", "", None, 3, ["full"]])
def test_an_unknown_supervision_is_told_with_the_known_ones(kind):
    message = only_problem({"training": [item("a1", "a", supervision=kind)]})
    assert (
        message.startswith("training[0] (a1): ")
        and f"full, partial, tags, noisy, none, got {kind!r}" in message
    )


def test_the_members_of_the_enumeration_are_known():
    (entry,), problems = parse_entries({"training": [item("a1", "a", supervision=Supervision.NOISY)]})
    assert entry.kind is Supervision.NOISY and problems == []


@pytest.mark.parametrize("kind", ["full", "partial", "noisy"])
def test_a_label_that_the_supervision_demands_must_be_there(kind):
    message = only_problem({"training": [item("a1", "a", supervision=kind, label=None)]})
    assert message.startswith(f'training[0] (a1): Expected a label for supervision "{kind}", got none')


@pytest.mark.parametrize("kind", ["tags", "none"])
def test_a_label_that_the_supervision_does_not_demand_may_be_absent(kind):
    assert parse_entries({"training": [item("a1", "a", supervision=kind, label=None)]})[1] == []


@pytest.mark.parametrize(
    "wrong", ["a.nii.gz", {"label": "a"}, {"image": []}, {"image": ["a", 1]}, {"image": "a", "label": 3}]
)
def test_a_malformed_item_is_named(wrong):
    assert only_problem({"training": [item("a1", "a"), wrong]}).startswith("training[1]: Expected")


@pytest.mark.parametrize("value", ["", "1234abcd", "g" * 64, "0" * 65, "0" * 64 + "\n", 0])
def test_a_malformed_digest_is_named(value):
    message = only_problem({"training": [item("a1", "a"), item("a2", "a", label_sha256=value)]})
    assert message.startswith("training[1] (a2): Expected label_sha256 to be 64 hexadecimal digits, got ")
    assert repr(value) in message and message.endswith("restore it or take it out.")


def test_a_digest_may_be_absent_and_its_letters_large():
    digests = ["0a" * 32, "0A" * 32, None]
    listed = [item("a1", "a"), *(item("a2", "a", label_sha256=digest) for digest in digests)]
    entries, problems = parse_entries({"training": listed})
    assert problems == [] and [entry.digest for entry in entries] == [None, "0a" * 32, "0a" * 32, None]


@pytest.mark.parametrize("kind", ["tags", Supervision.TAGS])
def test_a_caller_may_allow_other_kinds_for_validation_alone(kind):
    tagged = item("a1", "a", supervision="tags", tags=[[0]])
    allowed = {"scoring_kinds": ("full", kind)}
    assert parse_entries({"validation": [tagged], "training": [tagged]}, **allowed)[1] == []
    ((_, message),) = parse_entries({"test": [tagged]}, **allowed)[1]
    assert message.startswith('test[0] (a1): Expected supervision "full" in a section that scores')
    ((_, message),) = parse_entries({"validation": [item("b", "b", supervision="none")]}, **allowed)[1]
    assert 'Expected supervision "full" in' in message
    ((_, message),) = parse_entries({"validation": [item("b", "b", supervision="noisy")]}, **allowed)[1]
    assert 'Expected supervision "full" or "tags" in' in message


@pytest.mark.parametrize("case", ["../a1", "a/../../b", "/tmp/a1", "..\\a1", "C:\\a1", "a" * 201])
def test_a_case_is_a_name_for_files(case):
    message = only_problem({"training": [{**item("a1", "a"), "case": case}]})
    assert 'Expected "case" to be a name for files, of at most 200 characters' in message


@pytest.mark.parametrize("case", ["a..1", "a" * 200, "p1/a1", "a 1"])
def test_other_names_of_cases_pass(case):
    assert parse_entries({"training": [{**item("a1", "a"), "case": case}]})[1] == []
