import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest

from monai_ext.bundle import require_folders
from monai_ext.bundle.run_lock import RunLock
from monai_ext.errors import InputError
from tests.exit_messages import message_of


@pytest.fixture
def root(tmp_path):
    (tmp_path / "bundle" / "configs").mkdir(parents=True)
    return tmp_path / "bundle"


def test_a_bundle_that_can_be_written_passes_and_nothing_is_left(root):
    require_folders(root, root / "eval" / "deep", ckpt_dir=root / "models")
    assert [path.name for path in root.iterdir()] == ["configs"]


def test_a_folder_that_is_no_bundle_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message_of(require_folders, ".", "eval") == (
        f"Expected a bundle at {tmp_path}, got a folder without configs; change into the bundle's folder, or "
        "pass --bundle_root."
    )


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_file_is_no_folder(root, place):
    (root / "file").touch()
    message = message_of(require_folders, root, root / place)
    assert message.startswith(f"Expected a folder that can be written at {root / place}, got: ")
    assert "\n" not in message and "is a file" in message


@pytest.mark.parametrize("key", ["outputs", "ckpt_dir"])
def test_a_full_or_read_only_disk_is_refused(root, monkeypatch, key):
    def refuse(*args, **kwargs):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    place = root / "out"
    call = (root, place) if key == "outputs" else (root,)
    message = message_of(require_folders, *call, ckpt_dir=place if key == "ckpt_dir" else None)
    assert f"can be written at {place}, got: Read-only file system; choose another" in message


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_without_permission_is_refused(root):
    (root / "out").mkdir(mode=0o555)
    assert "Permission denied" in message_of(require_folders, root, root / "out")


def test_a_second_training_in_a_folder_is_refused_with_the_first_one(root):
    first = RunLock(root / "models")
    first.acquire()
    message = message_of(require_folders, root, ckpt_dir=root / "models")
    today = f"{datetime.now():%Y-%m-%d}"
    assert f"got process {os.getpid()}, started {today}" in message and "\n" not in message
    with pytest.raises(InputError, match=f"process {os.getpid()}"):
        RunLock(root / "models").acquire()
    first.release()
    require_folders(root, ckpt_dir=root / "models")
    second = RunLock(root / "models")
    second.acquire()
    second.release()


def test_those_who_look_do_not_refuse_each_other(root):
    first = RunLock(root / "models")
    first.acquire()
    with ThreadPoolExecutor() as pool:  # while the first one looks, which takes an instant
        looks = [pool.submit(RunLock(root / "models").look) for _ in range(2)]
        time.sleep(0.1)
        first.release()
        for look in looks:
            look.result(timeout=10)
    RunLock(root / "models").acquire()


def test_a_folder_that_is_taken_twice_is_free_after_one_release(root):
    lock = RunLock(root / "models")
    lock.acquire()
    lock.acquire()
    lock.look()
    lock.release()
    RunLock(root / "models").acquire()


def test_a_process_that_died_blocks_nobody(root):
    code = (
        "import os, pathlib, sys; from monai_ext.bundle.run_lock import RunLock; "
        "RunLock(pathlib.Path(sys.argv[1])).acquire(); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, root / "models"], timeout=100).returncode == 9
    assert (root / "models" / "training" / "run.txt").exists()
    require_folders(root, ckpt_dir=root / "models")
    RunLock(root / "models").acquire()
