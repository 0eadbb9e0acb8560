"""Constraints once more, as plainly as they can be said: one row, one constraint, plain numbers."""

import math
import re

import numpy as np

from steersman.bundle.specs import BoxAction
from unit.safety.constraints.cases import FEATURES


def violates(constraint, case, row, action):
    """Whether an action violates a constraint, given as data, on a row of a case."""
    if not applies(constraint.get("when"), case.features[row]):
        return False
    kind = next(kind for kind in RULES if kind in constraint)
    values = [value if math.isfinite(value) else math.nan for value in np.asarray(action).ravel().tolist()]
    return RULES[kind](constraint[kind], constraint["name"], case, row, values)


def applies(condition, features):
    """Conditions of the tests, which are Python but for their `!`."""
    if condition is None:
        return True
    values = dict(zip(FEATURES, features.tolist(), strict=True))
    if any(not math.isfinite(values[name]) for name in FEATURES if name in condition):
        return True
    return bool(eval(condition.replace("!(", "not ("), {}, values))


def index(name):
    return int(re.fullmatch(r"action\[(\d+)\]", name)[1])


def limit(value, case, side):
    dtype = np.dtype(case.contract.action.dtype)
    if dtype.kind == "f":
        return float(dtype.type(value))
    return math.ceil(value) if side == "low" else math.floor(value)


def bounds_of(interval, case):
    low = limit(interval["low"], case, "low") if "low" in interval else -math.inf
    high = limit(interval["high"], case, "high") if "high" in interval else math.inf
    return low, high


def box(settings, name, case, row, values):
    for element, interval in settings.items():
        low, high = bounds_of(interval, case)
        if not low <= values[index(element)] <= high:
            return True
    return False


def zone(settings, name, case, row, values):
    inside = True
    for element, interval in settings.items():
        low, high = bounds_of(interval, case)
        value = values[index(element)]
        if math.isnan(value):
            return True
        inside = inside and low < value < high
    return inside


def rate(settings, name, case, row, values):
    memory = case.memory
    if memory is None or not memory.known[row]:
        before, elapsed = [settings["start"]] * len(values), settings["assumed_step_s"]
    else:
        before, elapsed = memory.previous[row].ravel().tolist(), min(float(memory.elapsed_s[row]), 1.0)
    allowed = elapsed * settings["max_per_s"]
    return any(not abs(value - old) <= allowed for value, old in zip(values, before, strict=True))


def linear(settings, name, case, row, values):
    return any(over(each, case, row, values) for each in settings)


def over(settings, case, row, values):
    features = dict(zip(FEATURES, case.features[row].tolist(), strict=True))
    own = observed = 0.0
    for term, factor in settings["terms"].items():
        if term in features:
            observed += factor * features[term] if factor else 0.0
        else:
            own += factor * values[index(term)]
    if not math.isfinite(observed):
        return True
    if "at_most" in settings:
        return not (settings["at_most"] - observed) - own >= 0
    return not own - (settings["at_least"] - observed) >= 0


def columns(settings, case):
    """(dimension, choice) pairs, choices counted from 0."""
    if isinstance(settings, dict):
        return {(index(name), choice) for name, choices in settings.items() for choice in choices}
    return {(0, choice - case.contract.action.start) for choice in settings}


def choices_of(case, values):
    start = getattr(case.contract.action, "start", 0)
    return list(enumerate(value - start for value in values))


def forbid(settings, name, case, row, values):
    return bool(columns(settings, case) & set(choices_of(case, values)))


def dwell(settings, name, case, row, values):
    memory = case.memory
    if memory is None or not memory.known[row]:
        return False
    for i, (value, old) in enumerate(zip(values, memory.previous[row].ravel().tolist(), strict=True)):
        if value == old:
            continue
        if (
            "min_s" in settings
            and memory.now_s[row] - memory.cells[f"{name}.since"][row, i] < settings["min_s"]
        ):
            return True
        if "min_steps" in settings and memory.cells[f"{name}.steps"][row, i] < settings["min_steps"]:
            return True
    return False


def budget(settings, name, case, row, values):
    if not columns(settings["actions"], case) & set(choices_of(case, values)):
        return False
    memory = case.memory
    if memory is None or not memory.known[row]:
        return True
    uses = memory.cells[f"{name}.uses"][row]
    if "window_s" in settings:
        uses = sum(memory.now_s[row] - used < settings["window_s"] for used in uses)
    return uses >= settings["most"]


def exists(action, spec):
    """Whether there is such an action."""
    if isinstance(spec, BoxAction):
        return bool(((action >= -2) & (action <= 2)).all())
    values = (np.ravel(action) - getattr(spec, "start", 0)).tolist()
    return all(0 <= value < width for value, width in zip(values, spec.mask_segments, strict=True))


RULES = {
    "box": box, "rate": rate, "forbid_zone": zone, "linear": linear,
    "forbid": forbid, "dwell": dwell, "budget": budget,
}  # fmt: skip
