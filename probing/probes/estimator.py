"""Any scikit-learn classifier, pipeline or grid search as a probe.

    evaluate(tasks, encoders, probe=LinearSVC(C=0.1))
    probing run probe=estimator probe.estimator._target_=sklearn.svm.LinearSVC +probe.estimator.C=0.1

It is cloned for each fit, and fitted to the raw features of train. With `param_grid` every setting is fitted, and the first of
the highest dev accuracy is taken; an object that searches by itself (`GridSearchCV`) does so on train. The key of a cell covers the
qualified name and the parameters of the estimator and of those inside it, and scikit-learn's version. Where it draws (a parameter
`random_state` that is None), it gets the run's seed.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from probing.config import names
from probing.errors import ConfigError, described
from probing.probes.base import ProbeResult, SplitFeatures, SplitLabels, agreement
from probing.probes.path import ColumnProbe

VERSION = 1
"""Raise when the same estimator would give other numbers."""

LONGEST = 80
"""Most letters of an estimator's name in tables; a longer one is cut, and ends with a hash of the whole."""

ALLOWED = "a scikit-learn classifier, regressor, pipeline or search, such as LinearSVC(C=0.1)"


@dataclass(repr=False)
class EstimatorProbe(ColumnProbe):
    """The probe.

    Args:
        estimator: the object; or on the command line its class as `_target_` and its parameters, which may be such mappings too.
        param_grid: parameter -> values to try, as in scikit-learn's `ParameterGrid`, chosen on dev; None: nothing is chosen.
        label: name in tables; None: the class with the parameters that differ from its defaults.
    """

    estimator: Any
    param_grid: dict[str, list[Any]] | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        from sklearn.base import clone, is_classifier, is_regressor
        from sklearn.model_selection import ParameterGrid

        given = made(self.estimator) if isinstance(self.estimator, Mapping) else self.estimator
        check_object(given)
        try:
            self._estimator = clone(given)
            kinds = ("classification", "multilabel") if is_classifier(self._estimator) else ()
            self.kinds = kinds or (("regression",) if is_regressor(self._estimator) else ())
        except Exception as error:  # an object that only looks like an estimator
            raise ConfigError(
                f"probe={_short(given)} cannot be cloned as scikit-learn's estimators are: {described(error)}"
            ) from None
        if not self.kinds:
            raise ConfigError(f"probe={_short(given)} is no classifier and no regressor; allowed: {ALLOWED}")
        parameters = self._estimator.get_params()
        for key, values in (self.param_grid or {}).items():
            if key not in parameters:
                raise ConfigError(
                    f"probe.param_grid: {_short(given)} has no parameter {key!r} (it has {', '.join(sorted(parameters))})"
                )
            if isinstance(values, str) or not np.iterable(values) or not len(list(values)):
                raise ConfigError(f"probe.param_grid: {key} needs a list of values, not {values!r}")
        self._grid: list[dict[str, Any]] = list(ParameterGrid(self.param_grid or {}))
        self._draws = sorted(name for name, value in parameters.items() if _is_seed(name) and value is None)
        self._settings = self._described()  # what cannot be part of a key is refused now
        self.name = self.label or self._named()
        if self.name in names("probe"):
            raise ConfigError(f"probe.label={self.name!r} is the name of a preset: choose another label")

    def _described(self) -> dict[str, Any]:
        import sklearn

        settings = {"estimator": described_value(self._estimator), "scikit-learn": sklearn.__version__, "version": VERSION}
        if self.param_grid:
            settings["param_grid"] = described_value(dict(self.param_grid))
        return settings | ({"seeded by the run": self._draws} if self._draws else {})

    def _named(self) -> str:
        chosen = "" if not self.param_grid else " on dev: " + ",".join(f"{key}={list(v)}" for key, v in self.param_grid.items())
        name = (_short(self._estimator) + chosen).replace(", ", ",")
        return (
            name
            if len(name) <= LONGEST
            else f"{name[:LONGEST]}… {hashlib.sha256(json.dumps(self._settings).encode()).hexdigest()[:6]}"
        )

    def __repr__(self) -> str:
        return f"EstimatorProbe({self.name})"

    def settings(self, task: str) -> dict[str, Any]:
        return self._settings

    def seed(self, seed: int) -> int | None:
        return seed if self._draws else None

    def fit_column(
        self, blocks: SplitFeatures, label_sets: Mapping[str, SplitLabels], task: str, n_classes: int, seed: int
    ) -> Iterator[tuple[str, ProbeResult]]:
        for name, labels in label_sets.items():
            yield name, self._fit(blocks, labels, seed)

    def _fit(self, blocks: SplitFeatures, labels: SplitLabels, seed: int) -> ProbeResult:
        from sklearn.base import clone

        seeds, tried, best = dict.fromkeys(self._draws, seed), [], None
        for parameters in self._grid:
            model = clone(self._estimator).set_params(**parameters)
            model.set_params(**{name: seed for name, seed in seeds.items() if name in model.get_params()})
            converged = _fitted(model, blocks.train, labels.train)
            accuracy = agreement(labels.dev, _predicted(model, blocks.dev, labels))
            chosen = _plain(parameters | getattr(model, "best_params_", {}))
            tried.append({**chosen, "dev_accuracy": accuracy, "converged": converged})
            if best is None or accuracy > best[0]["dev_accuracy"]:
                best = tried[-1], chosen, model
        assert best is not None
        entry, chosen, model = best
        predicted = _predicted(model, blocks.test, labels)
        return ProbeResult(predicted, entry["dev_accuracy"], chosen, tuple(tried), entry["converged"], model=lambda: model)


def check_object(given: Any) -> None:
    """Raise a `ConfigError` for what is no object with the methods of an estimator."""
    if isinstance(given, type):
        raise ConfigError(f"probe={given.__name__} is a class; give an object: {given.__name__}()")
    if not all(callable(getattr(given, name, None)) for name in ("fit", "get_params", "set_params")):
        raise ConfigError(f"probe: {type(given).__name__} was given; allowed: a preset's name ('fast'), a protocol, or {ALLOWED}")


def made(options: Any) -> Any:
    """The object of a mapping with `_target_`, and those inside it; other values as they are."""
    if isinstance(options, list | tuple):
        return [made(one) for one in options]
    if not isinstance(options, Mapping):
        return options
    values = {key: made(value) for key, value in options.items()}
    if "_target_" not in values:
        return values
    target = str(values.pop("_target_"))
    module, _, name = target.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"probe.estimator._target_={target} cannot be imported: {error}; such as sklearn.svm.LinearSVC") from None
    try:
        return cls(**values)
    except Exception as error:  # any class may be named
        raise ConfigError(f"probe.estimator: {target}({', '.join(values)}) cannot be made: {described(error)}") from None


def described_value(value: Any) -> Any:
    """A parameter as plain JSON: an estimator by its qualified name and parameters, a function by its name and source.

    Raises:
        ConfigError: an object that says nothing lasting of itself, such as a random generator.
    """
    if isinstance(value, float) and not np.isfinite(value):  # which JSON has not: GridSearchCV's error_score
        return repr(value)
    if isinstance(value, type(None) | bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return described_value(value.item())
    if isinstance(value, Mapping):
        return {str(key): described_value(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [described_value(part) for part in value]
    if isinstance(value, np.ndarray):
        return {"array": list(value.shape), "sha256": hashlib.sha256(f"{value.dtype}".encode() + value.tobytes()).hexdigest()}
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if callable(getattr(value, "get_params", None)):
        return {name: {key: described_value(part) for key, part in sorted(value.get_params(deep=False).items())}}
    if inspect.isroutine(value):
        return {f"{value.__module__}.{value.__qualname__}": _source(value)}
    if hasattr(value, "dist") and hasattr(value, "kwds"):  # a frozen distribution of SciPy, as RandomizedSearchCV takes
        return {name: [value.dist.name, described_value(value.args), described_value(value.kwds)]}
    if isinstance(value, np.random.RandomState | np.random.Generator) or " at 0x" in repr(value):
        raise ConfigError(
            f"probe: the parameter value {type(value).__name__} cannot be part of a key, as another one looks the same; "
            "for random_state give a number or None, else an object whose repr says what it is"
        )
    return {name: repr(value)}


def _source(function: Any) -> str:
    try:
        return hashlib.sha256(inspect.getsource(function).encode()).hexdigest()
    except (OSError, TypeError):
        return "built in" if not hasattr(function, "__code__") else function.__code__.co_code.hex()


def _short(estimator: Any) -> str:
    """Class and changed parameters; of a pipeline step by step."""
    if hasattr(estimator, "steps"):
        return "+".join(_short(step) for _, step in estimator.steps if step not in (None, "passthrough"))
    if not callable(getattr(estimator, "get_params", None)):
        return type(estimator).__name__
    usual = {name: one.default for name, one in inspect.signature(type(estimator).__init__).parameters.items()}
    parameters = estimator.get_params(deep=False)
    changed = [f"{name}={_value(value)}" for name, value in parameters.items() if not _same(value, usual.get(name))]
    return type(estimator).__name__ + (f"({','.join(changed)})" if changed else "")


def _value(value: Any) -> str:
    return _short(value) if hasattr(value, "get_params") else repr(value)


def _same(value: Any, usual: Any) -> bool:
    return value is usual or (isinstance(value, type(usual)) and isinstance(value, bool | int | float | str) and value == usual)


def _is_seed(name: str) -> bool:
    return name == "random_state" or name.endswith("__random_state")


def _predicted(model: Any, x: Any, labels: SplitLabels) -> np.ndarray:
    """Predictions in the form of the labels; some classifiers of sets give floats."""
    predicted = np.asarray(model.predict(x))
    return predicted.astype(np.int64) if np.ndim(labels.train) == 2 else predicted


def _fitted(model: Any, x: Any, y: Any) -> bool:
    """Fit the model; return whether it converged, as far as scikit-learn warns. Other warnings are passed on."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        try:
            model.fit(x, y)
        except ValueError as error:
            if np.ndim(y) == 2 and "1d array" in str(error):
                hint = "one label a sentence; for sets of labels wrap it: sklearn.multiclass.OneVsRestClassifier"
                raise ValueError(f"{type(model).__name__} fits {hint}") from None
            raise
    for one in caught:
        if not issubclass(one.category, ConvergenceWarning):
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    return not any(issubclass(one.category, ConvergenceWarning) for one in caught)


def _plain(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as they are shown: plain values, else their text."""
    return {
        key: value if isinstance(value, type(None) | bool | int | float | str) else _value(value)
        for key, value in parameters.items()
    }
