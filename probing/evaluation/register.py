"""Own poolings, controls, floors and metrics: functions of a user's code, registered under a name with a version.

    @register_floor("first-word", version=1)
    def first_word(task): ...   # dev and test predictions

The version is part of the key of the cells that use the function: raise it when the function changes, so that they are measured
again. A pooling's version is part of its name in tables ("min-v1"), since its vectors are stored under it. A name that is built in,
or that was registered with the same version and other code, is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from probing.encoders.pooling import POOLINGS, TOKEN_POOLINGS, Pooler
from probing.errors import ConfigError, StatesError, foreign
from probing.evaluation.formulas import Outcome
from probing.evaluation.metrics import bootstrap
from probing.evaluation.statistics import METRICS
from probing.probes.controls import CONTROLS, Control
from probing.probes.floors import FLOORS
from probing.types import Estimate, Labels

if TYPE_CHECKING:
    import torch

Own = TypeVar("Own", bound=Callable[..., Any])

DRAWS = 200
"""Bootstrap draws of an own metric, each of which calls it."""

_RESERVED = ("static", "random-weights", "all", "none", "mean of halves")
_versions: dict[str, dict[str, tuple[int, str]]] = {"pooling": {}, "control": {}, "floor": {}, "metric": {}}
"""Kind -> name -> version and hash of the code of what was registered."""


def register_pooling(name: str, version: int = 1) -> Callable[[Own], Own]:
    """Register a pooling: a function of the states of a layer, (batch, tokens, d), and a mask, (batch, tokens), True where a token
    counts, to one vector for each sentence, (batch, d). Encoders with token states have it."""

    def add(function: Own) -> Own:
        def pooled(batch: Pooler, layer: torch.Tensor, backward: torch.Tensor | None) -> torch.Tensor:
            import torch

            with foreign(f"pooling {name}"):
                vectors = torch.as_tensor(function(layer, batch.mask))
            if vectors.shape != (layer.shape[0], layer.shape[2]):
                expected = (layer.shape[0], layer.shape[2])
                raise StatesError(f"pooling {name}: gave the shape {tuple(vectors.shape)}, expected (batch, d) = {expected}")
            return vectors.float()

        before = _versions["pooling"].get(name)
        _enter("pooling", POOLINGS, name, version, function, f"{name}-v{version}", pooled)
        if before is not None and before[0] != version:
            del POOLINGS[f"{name}-v{before[0]}"]
        return function

    return add


def register_control(name: str, version: int = 1, unsuited: Callable[[Any], str] | None = None) -> Callable[[Own], Own]:
    """Register a control: a function of a task and a random generator to the labels of train, dev and test: class indices, (n,).
    `unsuited`: a function of a task to the reason why it cannot have the control, or an empty text."""

    def add(function: Own) -> Own:
        def labels(task: Any, seed: int) -> list[Labels]:
            with foreign(f"control {name}"):
                own = [split.labels for split in task.splits.values()]
                drawn = [np.asarray(one, own[0].dtype) for one in function(task, np.random.default_rng(seed))]
                sizes, classes = [y.shape for y in own], task.kind == "classification"
                if [one.shape for one in drawn] != sizes or (
                    classes and any(((one < 0) | (one >= len(task.classes))).any() for one in drawn)
                ):
                    shapes = [one.shape for one in drawn]
                    raise ValueError(f"labels must be class indices of the shapes {sizes} for train, dev and test, not {shapes}")
            return drawn

        def reason(task: Any) -> str:
            with foreign(f"control {name}"):
                return "" if unsuited is None else str(unsuited(task) or "")

        _enter("control", CONTROLS, name, version, function, name, Control(version, labels, reason))
        return function

    return add


def register_floor(name: str, version: int = 1) -> Callable[[Own], Own]:
    """Register a floor: a function of a task to its predictions of dev and test: class indices, (n,)."""

    def add(function: Own) -> Own:
        def predictions(task: Any) -> tuple[Labels, Labels]:
            dev, test = (np.asarray(one, np.int64) for one in function(task))
            if (dev.shape, test.shape) != ((len(task.dev),), (len(task.test),)):
                raise ValueError(
                    f"predictions have the shapes {dev.shape}, {test.shape}; expected ({len(task.dev)},), ({len(task.test)},)"
                )
            return dev, test

        _enter("floor", FLOORS, name, version, function, name, predictions)
        return function

    return add


def register_metric(name: str, version: int = 1) -> Callable[[Own], Own]:
    """Register a metric: a function of gold and predicted class indices, (n,) each, to a number from 0 to 1, higher is better, or
    to an `Estimate`. A number gets the 95 % percentile interval of a bootstrap over test items, or groups of them."""

    def add(function: Own) -> Own:
        def metric(gold: Labels, predicted: Labels, n_classes: int, groups: Labels | None) -> Estimate:
            with foreign(f"metric {name}"):
                value = function(gold, predicted)
                if isinstance(value, Estimate):
                    return value
                one = Outcome(gold, predicted, n_classes, groups)
                return bootstrap(lambda drawn: float(function(drawn.gold, drawn.predicted)), one, DRAWS)

        _enter("metric", METRICS, name, version, function, name, metric)
        return function

    return add


def own_poolings() -> tuple[str, ...]:
    """The full names of the registered poolings."""
    return tuple(f"{name}-v{version}" for name, (version, _) in _versions["pooling"].items())


def pooling_named(name: str) -> str:
    """The full name of a registered pooling; any other name as it is."""
    return f"{name}-v{_versions['pooling'][name][0]}" if name in _versions["pooling"] else name


def poolings_of(encoder: Any) -> tuple[str, ...]:
    """The poolings of an encoder, with the registered ones if it has token states."""
    own = tuple(encoder.poolings)
    return own + (tuple(name for name in own_poolings() if name not in own) if set(TOKEN_POOLINGS) <= set(own) else ())


def floor_version(name: str) -> int:
    """The part of a cell's key that stands for a floor; 1 for those built in."""
    return _versions["floor"].get(name, (1, ""))[0]


def metrics_in_key() -> dict[str, dict[str, int]]:
    """The part of a cell's key that names the registered metrics; empty without one."""
    versions = {name: version for name, (version, _) in sorted(_versions["metric"].items())}
    return {"own_metrics": versions} if versions else {}


def _enter(kind: str, table: MutableMapping[str, Any], name: str, version: int, function: Any, entry: str, made: Any) -> None:
    """Enter what was `made` of the function into a table under the name `entry`; ConfigError for a name that cannot be taken."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][\w-]*", name):
        raise ConfigError(f"a {kind}'s name is a word of letters, digits, - and _, not {name!r}")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise ConfigError(f"{kind} {name}: the version is a whole number of at least 1, not {version!r}")
    if not callable(function):
        raise ConfigError(
            f"{kind} {name}: a function was expected, not {type(function).__name__}; use register_{kind}({name!r})(function)"
        )
    from probing.encoders.memory import content_sha256

    own, code = _versions[kind], content_sha256(function)  # the same when a notebook's cell is run again
    if name in _RESERVED or (name in table and name not in own):
        raise ConfigError(f"the {kind} {name!r} is built in: choose another name")
    if name in own and own[name][0] == version and own[name][1] != code:
        raise ConfigError(
            f"the {kind} {name!r} is registered with version {version} and other code: raise the version, or choose another name"
        )
    own[name], table[entry] = (version, code), made


def unregister() -> None:
    """Forget all that was registered; for tests."""
    for kind, table in (("pooling", POOLINGS), ("control", CONTROLS), ("floor", FLOORS), ("metric", METRICS)):
        own: Any = table
        for name in list(_versions[kind]):
            own.pop(pooling_named(name) if kind == "pooling" else name, None)
        _versions[kind].clear()
