"""Steps of training at the batch, size, widths and memory format of a bundle's train.yaml, as a script.

Runs in the folder of the bundle. Arguments: the folder of a datalist, and names of mix-ins whose networks are
tried as well. The standard error says which part of which step is next.
"""

import sys
from pathlib import Path

import monai.bundle
import torch
import yaml
from ignite.engine import Engine, Events
from monai.bundle import ConfigParser
from monai.engines.utils import IterationEvents

from monai_ext.inferers import AutocastInferer
from tests.processes import enter

STEPS = 3
PARTS = {
    Events.ITERATION_STARTED: "forward pass",
    IterationEvents.FORWARD_COMPLETED: "loss",
    IterationEvents.LOSS_COMPLETED: "backward pass",
    IterationEvents.BACKWARD_COMPLETED: "optimizer's part",
}


class SayParts:
    """Handler that says which part of which step begins."""

    def attach(self, engine: Engine) -> None:
        for event, part in PARTS.items():
            engine.add_event_handler(event, self.say, part)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.say, "end")

    def say(self, engine: Engine, part: str) -> None:
        enter(f"{part} of step {engine.state.iteration}")

    def __deepcopy__(self, memo: dict) -> "SayParts":  # MONAI copies what it is told
        return self


def one_step(mix_ins: list[str]) -> None:
    """A step of the network and the optimizer of train.yaml with these mix-ins, on a batch of noise."""
    name = " with ".join(["one step of train", *mix_ins])
    enter(f"making of {name}")
    parser = ConfigParser()
    parser.read_config([f"configs/{file}.yaml" for file in ("train", *mix_ins)])
    parser["bundle_root"] = "."
    network, optimizer = parser.get_parsed_content("network"), parser.get_parsed_content("optimizer")
    channels = parser.get_parsed_content(
        "in_channels" if "in_channels" in parser else "network_def::in_channels"
    )
    size = parser["patch_size" if "patch_size" in parser else "spatial_size"]
    image = torch.rand(parser["train"]["dataloader"]["batch_size"], channels, *size)
    enter(f"forward pass of {name}")
    loss = AutocastInferer()(image, network).square().mean()
    enter(f"backward pass of {name}")
    loss.backward()
    enter(f"optimizer's part of {name}")
    optimizer.step()
    enter(f"end of {name}")
    assert all(p.isfinite().all() for p in network.parameters())


def train(data: str) -> None:
    """A few steps of train.yaml as it is, without validation."""
    enter("start of the training")
    handlers = yaml.safe_load(Path("configs/train.yaml").read_text(encoding="utf-8"))["train"]["handlers"]
    monai.bundle.run(
        config_file="configs/train.yaml",
        logging_file=False,
        dataset_dir=data,
        **{
            "train::dataloader::batches_per_epoch": STEPS,
            "train::trainer::max_epochs": 1,
            "train::handlers": [SayParts(), *handlers],
            "validate::dataset::data": [],
        },
    )


if __name__ == "__main__":
    data, *names = sys.argv[1:]
    one_step([])
    for mix_in in names:
        one_step([mix_in])
    train(data)
    enter("end")
