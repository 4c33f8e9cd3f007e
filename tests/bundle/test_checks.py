"""What the command line overrides is looked at before it is believed."""

import json
import sys

import monai.bundle
import pytest
import torch

from monai_ext.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")  # MONAI: a config is code


def complaint(start, words=(), **overrides):
    """The message under the exceptions in which MONAI wraps it."""
    with pytest.raises(RuntimeError) as caught:
        start(words, **overrides)
    error = caught.value
    while not isinstance(error, InputError):
        error = error.__cause__
    return str(error)


@pytest.mark.parametrize("given", [True, "true", "True", "yes", "on", 1, "1"])
def test_words_for_yes_are_true_everywhere(start, given):
    parser = start(resume=given)
    assert parser.get_parsed_content("resume") is True
    assert parser.get_parsed_content("train::trainer")["resume"] is True


@pytest.mark.parametrize("given", [False, "false", "FALSE", "no", "off", 0, "0"])
def test_words_for_no_are_false_everywhere(start, given):
    assert start(resume=given).get_parsed_content("train::trainer")["resume"] is False
    assert start(**{"train::trainer::resume": given}).get_parsed_content("train::trainer")["resume"] is False


def test_another_word_is_neither(start):
    assert complaint(start, resume="maybe") == "Expected --resume to be true or false, got 'maybe'."


@pytest.mark.parametrize(
    ("given", "nearest"),
    [
        ("output_dri", "output_dir"),
        ("epochz", "train::trainer::max_epochs"),
        ("max_epochs", "train::trainer::max_epochs"),
        ("train::loader::sede", "train::loader::seed"),
        ("train#loader#sede", "train::loader::seed"),
        ("confg_file", "config_file"),
    ],
)
def test_an_unknown_id_is_refused_with_the_nearest_one(start, given, nearest):
    assert (
        complaint(start, **{given: 3})
        == f"Expected an id of the config, got --{given}; did you mean --{nearest}?"
    )


def test_an_id_that_is_like_none_is_refused_too(start):
    assert "got --zzzzzz; the ids are in the config files" in complaint(start, zzzzzz=3)


def test_every_mistake_has_its_line(start):
    assert len(complaint(start, zzzzzz=3, output_dri="x").splitlines()) == 2
    assert len(complaint(start, resume="maybe", seed="a").splitlines()) == 2


@pytest.mark.parametrize(
    "legal",
    ["debug", "train::loader::loader", "train::loader::mixture::partial", "train#view#noise"],
)
def test_ids_that_a_component_takes_are_legal(start, legal):
    start(**{legal: 1})


def test_none_which_monai_leaves_out_is_named(start):
    monai.bundle.create_workflow(config_file="configs/train.yaml", logging_file=False, seed=1)
    assert "Expected a value of --component, got None" in complaint(start, component=None)


@pytest.mark.parametrize(
    ("id", "given", "meant"),
    [
        ("seed", "7", 7),
        ("seed", 7.0, 7),
        ("threshold", 1, 1),
        ("threshold", "0.25", 0.25),
        ("spatial_size", (64, 64), [64, 64]),
        ("shares", [1, 0.5], [1, 0.5]),
        ("component", "all", "all"),
        ("train::trainer::max_epochs", 1e1, 10),
        ("train::view::rotation", 12.5, 12.5),
        ("seed", "$3 + 4", 7),
    ],
)
def test_a_value_gets_the_type_of_the_file(start, id, given, meant):
    found = start(**{id: given}).get_parsed_content(id)
    assert found == meant and type(found) is type(meant)


@pytest.mark.parametrize(
    ("id", "given", "expected"),
    [
        ("seed", "abc", "a whole number of at least 0, got 'abc'"),
        ("seed", -1, "a whole number of at least 0, got -1"),
        ("seed", 1.5, "a whole number of at least 0, got 1.5"),
        ("seed", True, "a whole number of at least 0, got True"),
        ("threshold", "high", "a number, got 'high'"),
        ("threshold", [0.5], "a number, got [0.5]"),
        ("spatial_size", 64, "a list such as [128, 128], got 64"),
        ("spatial_size", [64, "x"], "a list of positive whole numbers such as [128, 128], got [64, 'x']"),
        ("spatial_size", [], "a list of positive whole numbers such as [128, 128], got []"),
        ("shares", ["a"], "a list of numbers such as [0, 1.5], got ['a']"),
        ("component", 3, "a word such as highest, got 3"),
        ("train::trainer::max_epochs", 0, "a whole number of at least 1, got 0"),
        ("train::loader::mixture", 3, "a dictionary such as {'full': 1}, got 3"),
    ],
)
def test_a_value_of_another_type_is_refused(start, id, given, expected):
    assert complaint(start, **{id: given}) == f"Expected --{id} to be {expected}."


@pytest.mark.parametrize("given", ["cpu", "CPU ".strip().lower(), "$torch.device('cpu')"])
def test_a_device_may_be_a_name_or_an_expression(start, given):
    assert start(device=given).get_parsed_content("device") == torch.device("cpu")


@pytest.mark.parametrize("given", ["gpu", "cuda:77", "$torch.device('cuda:77')", "$nonsense", 3])
def test_an_absent_device_is_refused_with_those_there_are(start, given, monkeypatch):
    message = complaint(start, device=given)
    assert message.startswith(f"Expected a device of this machine, got {given}; ") and "cpu" in message


def test_on_a_machine_with_gpus_these_are_named(start, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert "there are cpu, cuda:0, cuda:1" in complaint(start, device="cuda:2")
    for name in ("cuda:1", "cuda"):
        assert start(device=name).get_parsed_content("device") == torch.device(name)


@pytest.mark.parametrize(
    ("given", "typed", "taken_for"),
    [
        (123, "123", "a number"),
        (1e5, "1e5", "a number"),
        (["x"], "[x]", "a list"),
        (("a", "b"), "a,b", "a list"),
        (True, "True", "yes or no"),
        ({"a": 1}, "{a:1}", "a dictionary"),
        ("@eaDir", "@eaDir", "a reference"),
        ("$data", "$data", "an expression"),
    ],
)
@pytest.mark.parametrize("id", ["input", "output_dir", "bundle_root"])
def test_a_path_that_is_taken_for_something_else_is_refused(start, id, given, typed, taken_for):
    assert complaint(start, [f"--{id}", typed], **{id: given}) == (
        f"Expected --{id} to be a path, got {typed}, which is taken for {taken_for}; "
        f"write ./{typed} or the absolute path."
    )


@pytest.mark.parametrize(
    ("given", "typed", "meant"),
    [
        ("/data/home@lab", None, "/data/home@lab"),
        ("/data/100%done", None, "/data/100%done"),
        ("/data/x#1/y", None, "/data/x#1/y"),
        ("x", "x#1", "x#1"),
        ("123", '"123"', "123"),
        ("./@x", None, "./@x"),
        ("/data/it's #1 @home", None, "/data/it's #1 @home"),
        ("@output_dir", None, "./eval"),
        ("$@bundle_root + '/x'", None, "./x"),
    ],
)
def test_a_path_is_what_was_typed(start, given, typed, meant):
    words = [] if typed is None else [f"--input={typed}"]
    assert start(words, input=given).get_parsed_content("input") == meant


@pytest.mark.parametrize("given", ["a", "b#1", "b"])
def test_a_program_of_its_own_may_have_options_of_the_same_name(bundle_folder, monkeypatch, given):
    monkeypatch.chdir(bundle_folder)
    monkeypatch.setattr(sys, "argv", ["study.py", "--input", "b#2"])
    workflow = monai.bundle.create_workflow(config_file="configs/train.yaml", logging_file=False, input=given)
    assert workflow.parser.get_parsed_content("input") == given


def test_settings_that_do_not_fit_are_refused(start):
    assert complaint(start, threshold=2) == "Expected 0 < threshold <= 1, got 2; pass --threshold."


def test_settings_that_make_no_network_are_refused(start):
    message = complaint(start, **{"network_def::out_features": "$'x'"})
    assert message.startswith("Expected settings that make a network, got: ")
    assert message.endswith("look at --network_def::out_features.")


@pytest.mark.parametrize("given", [[100, 64], [64], [64, 64, 64]])
def test_a_size_is_a_multiple_as_the_metadata_say(start, bundle_folder, given):
    shape = {"inputs": {"image": {"spatial_shape": ["16*n", "16*n"]}}}
    (bundle_folder / "configs" / "metadata.json").write_text(json.dumps({"network_data_format": shape}))
    assert complaint(start, spatial_size=given) == (
        f"Expected --spatial_size of the form 16*n x 16*n, got {given}; take the nearest such size."
    )
    start(spatial_size=[64, 160])


def test_a_package_that_is_too_old_is_named(start, bundle_folder):
    (bundle_folder / "configs" / "metadata.json").write_text('{"monai_version": "99.0"}')
    assert "expected monai >= 99.0" in complaint(start)


def test_the_first_weights_follow_from_the_seed_whatever_is_overridden(start):
    plain = start().get_parsed_content("network_def").weight
    assert torch.equal(plain, start(threshold=0.25).get_parsed_content("network_def").weight)
    assert not torch.equal(plain, start(seed=1).get_parsed_content("network_def").weight)


def test_a_workflow_of_its_own_is_not_checked_against_files(bundle_folder, monkeypatch):
    config = str(bundle_folder / "configs" / "train.yaml")
    workflow = monai.bundle.ConfigWorkflow(config, logging_file=False, workflow_type="train", more=1)
    workflow.initialize()
    assert workflow.parser["more"] == 1


@pytest.mark.parametrize("words", [["--input"], ["--input", "--seed", "3"]])
def test_a_path_without_a_value_is_missed(start, words):
    message = complaint(start, words, input=True)
    assert message == "Expected a path behind --input, got none; write --input PATH."


def test_only_settings_that_make_the_network_are_named(start):
    given = {"output_dir": "elsewhere", "seed": 3, "network_def::out_features": -2}
    message = complaint(start, **given)
    assert message.endswith("look at --network_def::out_features.")


def test_a_setting_to_which_the_network_refers_is_named(start):
    given = {"seed": 3, "shares": [-2, 1], "network_def::out_features": "$@shares[0]"}
    message = complaint(start, **given)
    assert message.endswith("look at --shares, --network_def::out_features.")
