"""Methods without training that a trained one must beat; each scores the validation set of some data."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from monai.transforms import KeepLargestConnectedComponent
from skimage.filters import threshold_otsu

from monai_ext.datalist.datalist import read_datalist
from monai_ext.handlers.evaluation import score_volume, summarize, without_nan
from monai_ext.images.files import read_volume
from monai_ext.keys import CASE, IMAGE, LABEL


def otsu_on_flair(data: Path) -> dict[str, Any]:
    """Otsu's threshold twice: head from air, then bright from dark within the head; its largest component."""
    content = read_datalist(data / "datalist.json")
    channel, names = content["modalities"].index("flair"), [content["labels"]["1"]]
    largest = KeepLargestConnectedComponent()
    cases = []
    for item in content["validation"]:
        image = read_volume(data / item[IMAGE][channel]).array.astype("float32")
        head = image > threshold_otsu(image)
        bright = largest(torch.as_tensor(image > threshold_otsu(image[head]))[None].float())
        label = torch.as_tensor(read_volume(data / item[LABEL]).array.astype("int64"))[None]
        scores = score_volume(torch.as_tensor(bright).long(), label, 2, [1.0] * 3)
        cases.append({"case": item[CASE], "classes": dict(zip(names, scores, strict=True))})
    return dict(without_nan({"unit": content["unit"], **summarize(cases, names), "cases": cases}))


CONTROLS: dict[str, Callable[[Path], dict[str, Any]]] = {"otsu_on_flair": otsu_on_flair}
