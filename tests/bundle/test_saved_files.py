import pytest
import torch

from monai_ext.bundle import saved_files
from monai_ext.bundle.saved_files import keep_aside, read_saved, save_atomically
from tests.exit_messages import message_of


def refuse(*args):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("file write failed")])
def test_a_failed_save_leaves_the_old_file_and_no_half_one(tmp_path, monkeypatch, error):
    path = tmp_path / "model.pt"
    save_atomically({"weight": torch.ones(2)}, path)

    def half(content, file):
        file.write_bytes(b"half of a file")
        raise error

    monkeypatch.setattr(saved_files.torch, "save", half)
    message = message_of(save_atomically, {"weight": torch.zeros(2)}, path)
    assert message.startswith(f"Expected room and permission to write {path}, got: ") and "\n" not in message
    assert torch.equal(read_saved(path, "", "")["weight"], torch.ones(2))
    assert [file.name for file in tmp_path.iterdir()] == ["model.pt"]


@pytest.mark.parametrize("links", [True, False])
def test_a_copy_never_takes_the_place_of_another(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr("os.link", refuse)
    path = tmp_path / "model.pt"
    path.write_bytes(b"weights")
    copies = {keep_aside(path) for _ in range(3)}
    assert len(copies) == 3 and all(copy.read_bytes() == b"weights" for copy in copies)
    assert all(copy.name.startswith("model_2") and copy.suffix == ".pt" for copy in copies)


def test_weights_that_cannot_be_kept_stay_where_they_are(tmp_path, monkeypatch):
    path = tmp_path / "model.pt"
    path.write_bytes(b"weights")
    monkeypatch.setattr("os.link", refuse)
    monkeypatch.setattr("os.replace", refuse)
    message = message_of(keep_aside, path)
    assert message.startswith(f"Expected room and permission to keep {path} as model_2")
    assert [file.name for file in tmp_path.iterdir()] == ["model.pt"]
