"""A trained bundle as a function from an item of the datalist to its segmentation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import decollate_batch

from monai_ext.bundle import ignore_warnings_inside_monai, require_weights
from monai_ext.bundle.checks import SETTINGS, apply_overrides
from monai_ext.bundle.data import unlike_network
from monai_ext.bundle.settings import stop_if_unfit
from monai_ext.bundle.workflow import Run
from monai_ext.drawing import MAP
from monai_ext.errors import InputError
from monai_ext.keys import CAM_PREFIX, IMAGE, MAP_SUFFIX, PRED


class Predictor:
    """A trained bundle, ready to segment items with the network and transforms of its evaluation.

    Args:
        bundle_root: folder of the bundle.
        dataset_dir: folder of ``datalist.json``.
        weights: trained weights; default those that the evaluation takes, ``models/model.pt``.
        overrides: values that replace those of the configuration, by id.
        mix_ins: names of configurations that come after ``train.yaml``.

    Raises:
        InputError: if an override, a mix-in, the datalist or the weights do not fit the bundle.
    """

    def __init__(
        self,
        bundle_root: Path,
        dataset_dir: Path,
        weights: Path | None = None,
        overrides: Mapping[str, Any] | None = None,
        mix_ins: Sequence[str] = (),
    ) -> None:
        ignore_warnings_inside_monai()
        parser = _config(bundle_root, dataset_dir, overrides or {}, mix_ins)
        settings = parser.get_parsed_content(SETTINGS) if SETTINGS in parser else {}
        stop_if_unfit(settings)
        classes = parser.get_parsed_content("num_classes")
        if problems := unlike_network(parser.get_parsed_content("datalist"), classes, settings):
            raise InputError(
                "\n".join(f"{problem} Here --ID VALUE is --override ID=VALUE." for problem in problems)
            )
        self.device = parser.get_parsed_content("device")
        self.network = parser.get_parsed_content("network").eval()
        self.inferer = parser.get_parsed_content("validate::inferer")
        self.preprocessing = parser.get_parsed_content("validate::preprocessing")
        self.postprocessing = parser.get_parsed_content("validate::postprocessing")
        path = weights or parser.get_parsed_content("weights")
        require_weights(path, self.network, settings)
        self.network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))

    def __call__(self, item: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Predictions (*S) of an item in the space of its label map, by key; ``pred`` comes last.

        A map that a mask was made from is among them as ``map``; those of single modalities are left out.
        """
        data = self.preprocessing(dict(item))
        with torch.no_grad():
            pred = self.inferer(data[IMAGE][None].to(self.device), self.network)
        done = self.postprocessing({**data, PRED: decollate_batch(pred)[0].cpu()})
        if (cam := done.pop(PRED + MAP_SUFFIX, None)) is not None:
            done[MAP] = cam
        made = sorted(done.keys() - data.keys(), key=lambda key: key == PRED)
        return {key: np.asarray(done[key][0]) for key in made if not key.startswith(CAM_PREFIX)}


def _config(
    bundle_root: Path, dataset_dir: Path, overrides: Mapping[str, Any], mix_ins: Sequence[str]
) -> ConfigParser:
    """The configuration of an evaluation, overrides included."""
    folder = bundle_root / "configs"
    known = sorted(file.stem for file in folder.glob("*.yaml"))
    known = [name for name in known if name not in ("train", "evaluate") and not name.endswith("inference")]
    if unknown := [name for name in mix_ins if name not in known]:
        raise InputError(
            f"Expected --mix-in among {', '.join(known) or 'none'}, as {folder} has them, got {unknown[0]!r}."
        )
    files = [str(folder / f"{name}.yaml") for name in ("train", *mix_ins, "evaluate")]
    parser = ConfigParser()
    parser.read_config(files)
    parser.update({"bundle_root": str(bundle_root), "dataset_dir": str(dataset_dir)})
    apply_overrides(Run(parser, ConfigParser.load_config_files(files), overrides))
    return parser
