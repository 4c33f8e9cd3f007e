import logging

from ignite.engine import Engine

from monai_ext.handlers.progress import InferenceProgress


def infer(batches, runs=1):
    """Runs an engine that gives, as a decollated inference, one output an image."""
    engine = Engine(lambda engine, batch: [{"pred": image} for image in batch])
    InferenceProgress("there").attach(engine)
    for _ in range(runs):
        engine.run(batches)


def test_the_last_line_says_how_many_segmentations_are_where(caplog):
    caplog.set_level(logging.INFO, "monai_ext")
    infer([["a", "b"], ["c"]])
    assert [record.message for record in caplog.records] == ["wrote 3 segmentations to there"]


def test_a_second_run_counts_from_the_start(caplog):
    caplog.set_level(logging.INFO, "monai_ext")
    infer([["a"]], runs=2)
    assert [record.message for record in caplog.records] == ["wrote 1 segmentation to there"] * 2


def test_a_bar_counts_the_batches(capsys):
    infer([["a"], ["b"], ["c"], ["d"]])
    assert "segmenting" in (shown := capsys.readouterr().err) and "[4/4]" in shown
