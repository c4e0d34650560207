"""A request: all options of a measurement in one object; and the encoders with the layers and poolings that it selects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, islice
from typing import Any, NamedTuple

from probing.encoders.base import Encoder, fingerprint
from probing.encoders.pooling import POOLINGS, TOKEN_POOLINGS, WORD_POOLINGS
from probing.errors import ConfigError, ForeignError, did_you_mean, foreign
from probing.evaluation import metrics as measured_by
from probing.evaluation.register import pooling_named, poolings_of
from probing.log import info
from probing.probes import as_probe
from probing.probes.base import ProbeProtocol
from probing.probes.controls import CONTROLS
from probing.probes.floors import FLOORS
from probing.store.segments import usual_dtype
from probing.store.vectors import Store
from probing.types import Representation

OWN = "own"
"""As a pooling: the encoder's own (`own_pooling`)."""

ALL_FLOORS = (*FLOORS, "static", "random-weights")


def all_floors() -> tuple[str, ...]:
    """`ALL_FLOORS`, and those that were registered."""
    return (*FLOORS, *ALL_FLOORS[-2:])


def many(given: Any) -> tuple[Any, ...]:
    """One value or many as a tuple."""
    return (given,) if isinstance(given, str) or not isinstance(given, Iterable) else tuple(given)


@dataclass(frozen=True)
class Request:
    """Options of `evaluate`; `measures` run beside the probe, or alone if `probe` is None; `metrics`: of `metrics.ASKED`;
    `per_class`: train sentences of each class; `words`: set by the plan for a task whose items are words."""

    probe: ProbeProtocol | None
    layers: tuple[int, ...] | None = None
    poolings: tuple[str, ...] | None = None
    seeds: tuple[int, ...] = (0,)
    controls: tuple[str, ...] = field(default_factory=lambda: tuple(CONTROLS))
    floors: tuple[str, ...] = ALL_FLOORS
    train_size: int | None = None
    store_dtype: str | None = None
    twins: int = 1
    resample: str | None = None
    resamples: int = 20
    measures: tuple[Any, ...] = field(default=())
    metrics: tuple[str, ...] = ()
    per_class: int | None = None
    words: bool = False

    def __post_init__(self) -> None:
        if self.poolings is not None:
            object.__setattr__(self, "poolings", tuple(map(pooling_named, self.poolings)))
        for name, given, allowed in (
            ("pooling", self.poolings or (), (*POOLINGS, *WORD_POOLINGS, OWN)),
            ("controls", self.controls, CONTROLS),
            ("floors", self.floors, all_floors()),
        ):
            for value in given:
                if value not in allowed:
                    raise ConfigError(f"{name}={value!r} is unknown{did_you_mean(value, allowed)} (allowed: {', '.join(allowed)})")
        measured_by.check(self.metrics)
        if not self.seeds or min(self.seeds) < 0:
            raise ConfigError(f"seed={list(self.seeds)} must hold at least one number, none below 0")
        if self.per_class is not None and (
            isinstance(self.per_class, bool) or not isinstance(self.per_class, int) or self.per_class < 1
        ):
            raise ConfigError(f"per_class={self.per_class!r} must be a whole number of at least 1, or null for all train sentences")
        if self.per_class is not None and self.train_size is not None:
            raise ConfigError(f"per_class={self.per_class} and train_size={self.train_size} exclude each other; set one of them")
        if isinstance(self.twins, bool) or not isinstance(self.twins, int) or self.twins < 1:
            raise ConfigError(f"twins={self.twins!r} must be a whole number of at least 1; floors without random-weights has none")
        if self.resample not in (None, "train"):
            raise ConfigError(f"resample={self.resample!r} is unknown (allowed: null, train)")
        if isinstance(self.resamples, bool) or not isinstance(self.resamples, int) or self.resamples < 5:
            raise ConfigError(f"resamples={self.resamples!r} must be a whole number of at least 5, enough for a variance")

    @classmethod
    def of(cls, probe: Any, layers: Any, poolings: Any, seeds: Any, controls: Any, floors: Any, **more: Any) -> Request:
        """A request from a probe, its name or a scikit-learn classifier, and values that are one or many; None: all."""
        protocol = None if probe is None else as_probe(probe)
        layers, poolings = (None if x is None else many(x) for x in (layers, poolings))
        controls, floors = (
            all_ if x is None or x == "all" else many(x) for x, all_ in ((controls, tuple(CONTROLS)), (floors, all_floors()))
        )
        return cls(protocol, layers, poolings, many(seeds), controls, floors, **more)

    @property
    def more_twins(self) -> list[int]:
        """Seeds of the random twins beside one for each seed of the run: the smallest numbers that are not among those."""
        unused = (number for number in count() if number not in self.seeds)
        return list(islice(unused, max(0, self.twins - len(self.seeds))))

    def named(self, encoder: str) -> str:
        """The encoder's name in rows: vectors that are stored in an unusual way give other numbers in the last digits, and another
        name."""
        return encoder if self.store_dtype in (None, usual_dtype(self.words)) else f"{encoder}[store={self.store_dtype}]"

    @property
    def stored(self) -> dict[str, str]:
        """The part of a cell's inputs that says how vectors are stored."""
        dtype = self.store_dtype or usual_dtype(self.words)
        return {} if dtype == "float32" else {"store_dtype": dtype}


class Measured(NamedTuple):
    """An encoder of the request, or a random twin (`seed`: of its weights): its columns that were asked for, or why it cannot say
    them. `static`: the mean of layer 0, where that is measured for the floor `static` alone, the last of `columns`."""

    encoder: Encoder | None
    name: str
    twin_of: str
    seed: int
    fingerprint: str = ""
    columns: Sequence[Representation] = ()
    static: Representation | None = None
    failure: str = ""


def measured_encoders(encoders: Sequence[Encoder], seed: int, request: Request, store: Store | None) -> list[Measured]:
    """The encoders and, where that floor is asked for, their random twins, for one seed of the request."""
    measured = [_measured(encoder, "", seed, request, store) for encoder in encoders]
    if "random-weights" not in request.floors:
        return measured
    for drawn in (seed, *(request.more_twins if seed == request.seeds[0] else ())):
        twins = [_twin(encoder, drawn, request, store) for encoder in encoders]
        measured += [twin for twin in twins if twin is not None]
    if alone := [encoder.name for encoder, twin in zip(encoders, twins, strict=True) if twin is None]:
        info(f"{', '.join(alone)}: no random-weights twin, so the table has no such floor")
    return measured


def _measured(encoder: Encoder, twin_of: str, seed: int, request: Request, store: Store | None) -> Measured:
    mark = ""
    try:
        with foreign(f"{encoder.name}: its description"):
            mark = fingerprint(encoder)
        with foreign(f"{encoder.name}: its layers"):
            if store is not None:
                store.recall(encoder)
            n_layers, poolings = len(encoder.dims), poolings_of(encoder)
            if request.words:
                poolings = WORD_POOLINGS if set(TOKEN_POOLINGS) <= set(poolings) else ()
            context_free = getattr(encoder, "context_free", True)
    except ForeignError as error:
        return Measured(encoder, encoder.name, twin_of, seed, mark, failure=str(error))
    if OWN in (request.poolings or ()):
        own = own_pooling(encoder, poolings)
        request = replace(request, poolings=tuple(own if name == OWN else name for name in request.poolings or ()))
    columns, static = _columns(encoder.name, n_layers, poolings, request)
    if static is not None and not context_free:
        info(f"{encoder.name}: its layer 0 depends on other words, so the table has no floor static")
        columns, static = [column for column in columns if column != static], None
    return Measured(encoder, encoder.name, twin_of, seed, mark, columns, static)


def own_pooling(encoder: Encoder, poolings: Sequence[str]) -> str:
    """The pooling that makes an encoder's sentence vectors: `sentence` where it has it, that of its option `pooling` (the suite's
    networks: the one of their classifier in training), else mean, or the only one that it has."""
    named = ("sentence", str(getattr(encoder, "pooling", "mean")), "mean")
    return next((name for name in named if name in poolings), poolings[0])


def _twin(encoder: Encoder, seed: int, request: Request, store: Store | None) -> Measured | None:
    try:
        with foreign(f"{encoder.name}: its random twin"):
            twin = encoder.random_twin(seed)
    except ForeignError as error:
        return Measured(None, f"{encoder.name} (random {seed})", encoder.name, seed, failure=str(error))
    return None if twin is None else _measured(twin, encoder.name, seed, request, store)


def _columns(
    name: str, n_layers: int, poolings: Sequence[str], request: Request
) -> tuple[list[Representation], Representation | None]:
    """The layers and poolings asked for, and the mean of layer 0 where it is added as a floor."""
    if not poolings:
        raise ConfigError(f"{name} has no states of tokens, which tasks of words need: take another encoder, or tasks of sentences")
    for layer in request.layers or ():
        if not -n_layers <= layer < n_layers:
            raise ConfigError(f"layer={layer}: {name} has the layers 0 (embeddings) to {n_layers - 1}, -1 is the last")
    layers = range(n_layers) if request.layers is None else dict.fromkeys(layer % n_layers for layer in request.layers)
    for pooling in request.poolings or ():
        if pooling not in poolings:
            raise ConfigError(
                f"pooling={pooling}: {name} allows {', '.join(poolings)}"
                + (" (its tokenizer puts no classification token first)" if pooling == "cls" else "")
            )
    every, mean = (poolings[:1], poolings[0]) if request.words else (poolings, "mean")
    wanted = [Representation(layer, p) for p in request.poolings or every for layer in layers]
    if request.probe is None:
        return wanted, None
    columns = request.probe.columns(wanted)
    if not columns:
        raise ConfigError(f"probe={request.probe.name} probes none of the layers and poolings asked for ({len(wanted)} of them)")
    static = Representation(0, mean)
    if "static" not in request.floors or mean not in poolings or static in columns or not request.probe.columns([static]):
        return columns, None
    return [*columns, static], static
