"""Values of settings, brought to the type that they have in the config file."""

import math
from typing import Any

from monai_ext.errors import InputError

TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
LEAST = {
    "seed": 0,
    "num_classes": 2,
    **dict.fromkeys("val_interval max_epochs batch_size batches_per_epoch map_stride".split(), 1),
}
"""Smallest legal value of a whole number, by the last part of its id."""
SIZES = ("spatial_size", "channels", "patch_size")
"""Lists of positive whole numbers, by the last part of their ids."""


def as_type_of(id: str, value: Any, default: Any, annotation: str = "") -> Any:
    """The value as what the config file has for the id.

    Args:
        id: of the setting.
        value: as the command line or Python gave it.
        default: as in the config file. Where it is an expression, a component or null, any value passes.
        annotation: type that the component names for the argument; a whole number may stand in the file where
            the component takes any number.

    Raises:
        InputError: if the value cannot be one of that type.
    """
    if is_config_syntax(value) or is_config_syntax(default) or _is_component(default) or default is None:
        return value
    if isinstance(default, bool):
        return _boolean(id, value)
    if isinstance(default, int):
        whole = "::" not in id or annotation == "int" or _last(id) in LEAST
        return _whole_number(id, value) if whole else _number(id, value)
    if isinstance(default, float):
        return _number(id, value)
    if isinstance(default, str):
        return _word(id, value, default)
    if isinstance(default, list | tuple):
        return _list(id, value, default)
    if isinstance(default, dict) and not isinstance(value, dict):
        raise _wrong(id, "a dictionary", value, default)
    return value


def is_config_syntax(value: Any) -> bool:
    """Whether MONAI reads it as an expression or a reference, not as it stands."""
    return isinstance(value, str) and value[:1] in ("$", "@")


def _boolean(id: str, value: Any) -> bool:
    word = str(value).strip().lower()
    if word in TRUE:
        return True
    if word in FALSE:
        return False
    raise _wrong(id, "true or false", value)


def _number(id: str, value: Any) -> float:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise _wrong(id, "a number", value) from None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _wrong(id, "a number", value)
    return value


def _whole_number(id: str, value: Any) -> int:
    least = LEAST.get(_last(id))
    what = "a whole number" if least is None else f"a whole number of at least {least}"
    try:
        number = _number(id, value)
    except InputError:
        raise _wrong(id, what, value) from None
    if number != int(number) or (least is not None and number < least):
        raise _wrong(id, what, value)
    return int(number)


def _word(id: str, value: Any, default: str) -> Any:
    nested = "::" in id and isinstance(value, list | tuple | dict)  # which MONAI's components often take, too
    if nested or isinstance(value, str):
        return value
    raise _wrong(id, "a word", value, default)


def _list(id: str, value: Any, default: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise _wrong(id, "a list", value, default)
    value = list(value)
    if _last(id) in SIZES:
        if not value or any(isinstance(v, bool) or not isinstance(v, int) or v < 1 for v in value):
            raise _wrong(id, "a list of positive whole numbers", value, default)
    elif default and all(isinstance(v, int | float) and not isinstance(v, bool) for v in default):
        if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in value):
            raise _wrong(id, "a list of numbers", value, default)
    return value


def _wrong(id: str, expected: str, value: Any, default: Any = None) -> InputError:
    such = "" if default is None else f" such as {default}"
    return InputError(f"Expected --{id} to be {expected}{such}, got {value!r}.")


def _last(id: str) -> str:
    return id.replace("#", "::").rsplit("::", 1)[-1]


def _is_component(default: Any) -> bool:
    return isinstance(default, dict) and "_target_" in default
