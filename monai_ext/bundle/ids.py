"""Which ids a config holds, and which of them somebody may have meant."""

import inspect
from collections.abc import Iterator
from difflib import SequenceMatcher
from pydoc import locate
from typing import Any

from monai.bundle import ConfigComponent, ConfigParser, ReferenceResolver

from monai_ext.bundle.workflow import OWN_ARGUMENTS, Run
from monai_ext.errors import InputError

NOTHING = object()
"""Where a config has no such value, which may be None."""
ALSO_LEGAL = frozenset({"debug"})
LIKENESS = 0.55
"""From 0 to 1: names that are less alike are not suggested."""


def stop_at_unknown_ids(run: Run) -> None:
    """Refuse what would be put into the config and never be read.

    Raises:
        InputError: for each id that neither a config file nor the component it belongs to knows, and for
            each that was given None.
    """
    problems = [
        f"Expected an id of the config, got --{id}; {_advice(id, run)}"
        for id in run.overrides
        if id not in ALSO_LEGAL and not _is_known(id, run)
    ]
    problems += [
        f"Expected a value of --{id}, got None, which MONAI leaves out; write '$None' if it is meant."
        for id in run.dropped
    ]
    if problems:
        raise InputError("\n".join(problems))


def default_of(id: str, run: Run) -> Any:
    """What an id is without the override: in the config files, else by its component's signature.

    A value that only refers to another id stands for what that one is. ``NOTHING`` if there is none.
    """
    value = _look_up(run.written, id)
    if value is NOTHING:
        parent, name = _parent(id, run)
        parameter = parameters(parent, run.parser).get(name) if _is_component(parent) else None
        return NOTHING if parameter is None or parameter.default is parameter.empty else parameter.default
    seen = {id}
    while isinstance(value, str) and value.startswith("@") and value[1:] not in seen:
        seen.add(value[1:])
        target = _look_up(run.written, value[1:])
        if target is NOTHING:
            break
        value = target
    return value


def annotation_of(id: str, run: Run) -> str:
    """Type that the component names for an argument; empty where nothing does."""
    parent, name = _parent(id, run)
    parameter = parameters(parent, run.parser).get(name) if _is_component(parent) else None
    if parameter is None or parameter.annotation is parameter.empty:
        return ""
    return getattr(parameter.annotation, "__name__", str(parameter.annotation))


def ids_behind(id: str, parser: ConfigParser) -> set[str]:
    """An id and all those to which its value refers, directly or through others."""
    found, waiting = set(), [id]
    while waiting:
        name = waiting.pop()
        if name not in found and name in parser:
            found.add(name)
            text = ReferenceResolver.normalize_id(repr(parser.get(name)))
            waiting += ReferenceResolver.match_refs_pattern("$" + text)
    return found


def parameters(component: dict[str, Any], parser: ConfigParser) -> dict[str, inspect.Parameter]:
    """Arguments of what ``_target_`` names, by name; {} if it cannot be found or asked."""
    name = ConfigComponent(component, locator=parser.locator).resolve_module_name()
    target = locate(name) if isinstance(name, str) else name
    try:
        return dict(inspect.signature(target).parameters)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return {}


def _is_known(id: str, run: Run) -> bool:
    if _look_up(run.written, id) is not NOTHING:
        return True
    keys = ReferenceResolver.split_id(id)
    if run.tracked and keys[0] in run.parser:  # MONAI has put its own ids there
        return True
    above = ["::".join(keys[:n]) for n in range(1, len(keys))]
    if any(name in run.overrides for name in above):  # given on the command line as well
        return True
    parent, name = _parent(id, run)
    if _is_component(parent):
        known = parameters(parent, run.parser)
        open_ended = not known or any(p.kind is p.VAR_KEYWORD for p in known.values())
        return open_ended or name in known or name in ConfigComponent.non_arg_keys
    within = any(_is_component(_look_up(run.written, name)) for name in above)
    return within and isinstance(parent, dict)  # an argument that is a dictionary, such as a mixture


def _parent(id: str, run: Run) -> tuple[Any, str]:
    *above, name = ReferenceResolver.split_id(id)
    return (_look_up(run.written, "::".join(above)) if above else run.written), name


def _look_up(config: Any, id: str) -> Any:
    for key in ReferenceResolver.split_id(id):
        if isinstance(config, dict) and key in config:
            config = config[key]
        elif isinstance(config, list) and key.isdigit() and int(key) < len(config):
            config = config[int(key)]
        else:
            return NOTHING
    return config


def _is_component(config: Any) -> bool:
    return isinstance(config, dict) and "_target_" in config


def _advice(id: str, run: Run) -> str:
    legal = [*OWN_ARGUMENTS, *_ids(run.written)]
    likeness, nearest = max((_likeness(id, other), other) for other in legal)
    if likeness >= LIKENESS:
        return f"did you mean --{nearest}?"
    return "the ids are in the config files, and the most used ones in docs/README.md of the bundle."


def _ids(config: Any, above: str = "") -> Iterator[str]:
    """All ids but those of list entries and of MONAI's own keys."""
    for key, value in config.items():
        if not key.startswith("_"):
            yield above + key
            if isinstance(value, dict):
                yield from _ids(value, f"{above}{key}::")


def _likeness(given: str, legal: str) -> float:
    """From 0 to 1; the last part counts most, since people leave out what stands before it."""
    given = ReferenceResolver.normalize_id(given)
    whole = SequenceMatcher(None, given, legal).ratio()
    last = SequenceMatcher(None, given.rsplit("::", 1)[-1], legal.rsplit("::", 1)[-1]).ratio()
    return 0.9 * last + 0.1 * whole
