"""Training by several processes: here two on the CPU that talk by Gloo, as GPUs would by NCCL."""

import socket

import pytest

from tests.processes import run_python

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")  # MONAI: a config is code

CONFIGS = ["configs/train.yaml", "configs/multi_gpu_train.yaml"]
BATCHES = 2


@pytest.fixture
def torchrun(bundle):
    """Runs the command at the top of multi_gpu_train.yaml with two processes, on the loopback only."""

    def run(**overrides):
        epoch = {"train::dataloader::batches_per_epoch": BATCHES}
        _, given = bundle.options("train", epochs=1, **epoch, **overrides)
        words = [word for key, value in given.items() for word in (f"--{key}", str(value))]
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
        loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
        here = {"GLOO_SOCKET_IFNAME": loopback, "CUDA_VISIBLE_DEVICES": ""}
        command = [*launcher, "-m", "monai.bundle", "run", "--config_file", str(CONFIGS), *words]
        return run_python(*command, what="training by two processes", cwd=bundle.root, **here)

    return run


@pytest.mark.slow
def test_two_processes_train_weights_that_one_process_evaluates(bundle, torchrun):
    folder_of_rank = "$@bundle_root + f'/models_{torch.distributed.get_rank()}'"
    done = torchrun(ckpt_dir=folder_of_rank)
    assert done.returncode == 0, done.stderr
    folders = {
        path.name: sorted(file.name for file in path.iterdir()) for path in bundle.root.glob("models_*")
    }
    assert folders == {"models_0": ["model.pt", "training"]}  # the second process writes nothing
    assert (done.stdout + done.stderr).count("is the best so far") == 1
    bundle.models = bundle.root / "models_0"
    assert bundle.load("training/checkpoint.pt")["iteration"] == BATCHES
    bundle.run("evaluate", ckpt_dir=str(bundle.models))
    assert (bundle.root / "eval" / "summary.json").is_file()
