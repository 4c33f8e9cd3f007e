"""What every bundle does first: see that it was told what it can do."""

import logging
import re
from typing import Any

from ignite.utils import manual_seed
from monai.bundle import ReferenceResolver

from monai_ext.bundle.devices import as_device
from monai_ext.bundle.ids import NOTHING, annotation_of, default_of, ids_behind, stop_at_unknown_ids
from monai_ext.bundle.packages import ignore_warnings_inside_monai, require_packages
from monai_ext.bundle.paths import as_path, is_path
from monai_ext.bundle.saved_files import first_sentence
from monai_ext.bundle.settings import order_doubt, stop_if_unfit
from monai_ext.bundle.values import as_type_of
from monai_ext.bundle.workflow import Run, find_run
from monai_ext.errors import InputError

SIZE = "spatial_size"
MULTIPLE = re.compile(r"(\d+) ?\* ?n$")
"""How metadata say that a size is a multiple."""
SETTINGS = "settings"
"""Id of the settings that must fit each other, in configs that have such."""

NETWORK, WEIGHTS = "network_def", "weights"
CHANNELS = "_meta_::network_data_format::inputs::image::channel_def"
logger = logging.getLogger(__name__)


def check_settings() -> None:
    """Look at packages and at what the command line overrode: the first expression of every ``initialize``.

    It needs neither data nor weights, nor to know where the bundle lies. Values get the type that they have
    in the config file: ``--resume false`` is the boolean. Outside a workflow it does nothing but hide
    warnings.

    Raises:
        InputError: if a package is missing or too old, or with one line for each id that the config does not
            hold, each value that is of the wrong type, and each group of settings that do not fit each other.
    """
    ignore_warnings_inside_monai()
    run = find_run()
    if run is None:
        return
    require_packages(run.parser.get("_meta_", {}))
    apply_overrides(run)
    if SETTINGS in run.parser:
        settings = run.parser.get_parsed_content(SETTINGS)
        stop_if_unfit(settings)
        if WEIGHTS in run.parser and (doubt := order_doubt(settings, run.parser.get(CHANNELS) or {})):
            logger.warning(doubt)
    if run.overrides:
        _stop_at_sizes(run)
        _try_network(run)
    # So that nothing made of the old values, or before the seed, is used. MONAI parses anew by itself.
    run.parser.ref_resolver.reset()


def set_seed(seed: int) -> None:
    """Seed torch, NumPy and Python: the network's first weights come from their numbers."""
    manual_seed(seed)


def apply_overrides(run: Run) -> None:
    """Put every override into the config as what it means.

    Raises:
        InputError: with one line for each id that the config does not hold, or each value of the wrong type.
    """
    stop_at_unknown_ids(run)
    problems = []
    for id, value in run.overrides.items():
        try:
            run.parser[id] = _meant(id, value, run)
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError("\n".join(problems))
    run.parser.ref_resolver.reset()


def _meant(id: str, value: Any, run: Run) -> Any:
    if id == "device":
        return as_device(value, run)
    default = default_of(id, run)
    if is_path(id) and (default is not NOTHING):
        return as_path(id, value, run)
    return value if default is NOTHING else as_type_of(id, value, default, annotation_of(id, run))


def _stop_at_sizes(run: Run) -> None:
    """Refuse slices that the network cannot halve as often as the metadata say."""
    wanted = run.parser.get("_meta_::network_data_format::inputs::image::spatial_shape", [])
    if SIZE not in run.overrides or not wanted:
        return
    size = run.parser.get_parsed_content(SIZE)
    factors = [int(match[1]) if (match := MULTIPLE.match(str(part))) else 1 for part in wanted]
    if len(size) != len(wanted) or any(n % factor for n, factor in zip(size, factors, strict=True)):
        shape = " x ".join(map(str, wanted))
        raise InputError(f"Expected --{SIZE} of the form {shape}, got {size}; take the nearest such size.")


def _try_network(run: Run) -> None:
    """Build the network once: sizes and numbers that allow none would fail in many other places."""
    if NETWORK not in run.parser:
        return
    try:
        run.parser.get_parsed_content(NETWORK)
    except Exception as error:  # of any network that a config may name
        while error.__cause__ is not None:
            error = error.__cause__  # type: ignore[assignment]
        makers = ids_behind(NETWORK, run.parser)
        named = [id for id in run.overrides if any(_overlap(id, maker) for maker in makers)]
        given = ", ".join(f"--{id}" for id in named or run.overrides)
        raise InputError(
            f"Expected settings that make a network, got: {first_sentence(error)}; look at {given}."
        ) from error


def _overlap(id: str, other: str) -> bool:
    """Whether one id is the other or a part of it."""
    id = ReferenceResolver.normalize_id(id)
    return f"{id}::".startswith(f"{other}::") or f"{other}::".startswith(f"{id}::")
