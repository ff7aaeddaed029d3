"""Holds dashboards against Grafana's own schema, as its code generator writes it down (grafana-foundation-sdk): each is read by it and written
again, whereby what the schema does not know is lost, and each value is held against the type that the schema gives it.

    python dashboard.py FILE...

Says each path that is not as it should be, and fails; else one line for each file."""

import enum
import json
import sys
import typing

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard


def lost(written, read, path=""):
    """What is in the first and not in the second. That more is there is no fault: defaults are filled in."""
    if isinstance(written, dict) and isinstance(read, dict):
        for key, value in written.items():
            if key not in read:
                # What says nothing is left out.
                if value not in (None, "", [], {}, False):
                    yield f"{path}.{key} is unknown to Grafana's schema"
            else:
                yield from lost(value, read[key], f"{path}.{key}")
    elif isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        for index, (one, other) in enumerate(zip(written, read)):
            yield from lost(one, other, f"{path}[{index}]")
    elif written != read:
        yield f"{path} = {written!r} comes back as {read!r}"


def fits(value, hint):
    """Whether a value is of a type. What is an object of the schema, or a list, is looked into by mistyped()."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Union:
        return any(fits(value, one) for one in arguments)
    if origin is typing.Literal:
        return value in arguments
    if origin is list:
        return isinstance(value, list) and all(fits(one, arguments[0]) for one in value)
    if origin is dict:
        return isinstance(value, dict)
    if hint in (typing.Any, object) or isinstance(hint, typing.TypeVar):
        return True
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return value in [one.value for one in hint]
    return isinstance(value, hint) if isinstance(hint, type) else True


def mistyped(value, path=""):
    """Values, down from here, of another type than the schema's."""
    if isinstance(value, list):
        for index, one in enumerate(value):
            yield from mistyped(one, f"{path}[{index}]")
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from mistyped(one, f"{path}.{key}")
    elif type(value).__module__.startswith("grafana_foundation_sdk.models") and not isinstance(value, enum.Enum):
        for name, hint in typing.get_type_hints(type(value)).items():
            one = getattr(value, name, None)
            if one is not None and not fits(one, hint):
                yield f"{path}.{name} = {one!r} is not allowed: {hint}"
            yield from mistyped(one, f"{path}.{name}")


def check(file):
    with open(file, encoding="utf-8") as text:
        written = json.load(text)
    dashboard = Dashboard.from_json(written)
    read = json.loads(JSONEncoder(sort_keys=True).encode(dashboard))
    faults = [*lost(written, read), *mistyped(dashboard)]
    panels = [panel for panel in dashboard.panels or [] if panel.type_val != "row"]
    targets = [target for panel in panels for target in panel.targets or []]
    print(f"{file}: {len(panels)} panels, {len(targets)} queries, {len(faults)} faults")
    for fault in faults:
        print(f"  {fault}")
    return not faults and bool(targets)


register_default_plugins()
sys.exit(0 if all([check(file) for file in sys.argv[1:]]) else 1)
