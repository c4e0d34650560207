"""Study `causal`: what a language model does with what its layers hold, on pairs of `data`.

    patch    states of a source sentence in the run of a base (`probing.behaviour.patching`): layer × role
    erase    directions of a property, fitted on a labelled task, are taken out at a layer (`probing.behaviour.erasing`)
    ablate   so are the units that differ most between its classes

`rows.csv` has a line for each layer, kind of units and role, and of what was taken out; finished layers are kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from probing.behaviour import erasing, patching
from probing.behaviour.base import LanguageModel
from probing.behaviour.items import Item, Pairs
from probing.behaviour.models import language_model
from probing.behaviour.networks import NetworkModel
from probing.behaviour.scores import Convention, convention_key
from probing.data.sources import SentEvalFolder
from probing.data.task import Task
from probing.encoders.laws import cell_layers
from probing.errors import ConfigError
from probing.evaluation.statistics import mean_ci, wilson
from probing.log import info
from probing.probes.erasure import METHODS
from probing.report import causal as report
from probing.store.results import key_of
from probing.studies import Context, layers_of, require
from probing.studies.sources import named_source

VERSION = 2
"""Raise when the same options would give other rows."""
PROPERTIES = {"number": "subj_number", "tense": "past_present", "object_number": "obj_number", "word_order": "bigram_shift"}
"""Names of properties -> tasks of sentences; any other name is a task's own."""


@dataclass
class Causal:
    """Options:

    Args:
        method: patch, erase, or ablate.
        property: number, tense, object_number, word_order, or a task of `labels`; of patching a name in the table alone.
        labels: of erase and ablate, where the labelled task is: grammar, a folder of task files, or a preset of data with options.
        train: most labelled sentences (or words); for INLP, which dev accuracy ends, of dev too.
        layers: all, or numbers, negative ones from the last; `layer` where it is not given.
        erasure: leace, inlp or means.
        units, value: of ablate, how many units, and mean, zero or resample.
        draws: controls by random directions, or sets of units; with 19 at least "used" can be shown of one layer.
        other: a second property, whose erasure is the second control; null: none.
        kl: items whose next-word distributions are compared.
        whole: of a layer of LSTMs, the erasure that takes the cell, too, alone.
        margin: change of accuracy (0-1) that counts as none.
        masking: of masked models (`probing.behaviour.scores`).
    """

    method: str = "patch"
    property: str = "number"
    labels: Any = "grammar"
    train: int = 1000
    layers: Any = "all"
    erasure: str = "leace"
    units: int = 10
    value: str = "mean"
    draws: int = 20
    other: str | None = None
    kl: int = 50
    margin: float = 0.02
    whole: bool = False
    masking: str = "within_word_l2r"

    name = "causal"
    uses = ("encoder", "data")

    def __post_init__(self) -> None:
        allowed = {"method": ("patch", "erase", "ablate"), "erasure": METHODS[:3], "value": ("mean", "zero", "resample")}
        for option, names in allowed.items():
            given = getattr(self, option)
            require(given in names, f"study.{option}={given!r} is unknown (allowed: {', '.join(names)})")
        for option, least in (("train", 20), ("units", 1), ("draws", 2), ("kl", 0)):
            given = getattr(self, option)
            require(isinstance(given, int) and given >= least, f"study.{option}={given} must be a whole number from {least}")
        require(0 <= self.margin < 1, f"study.margin={self.margin} must be at least 0 and below 1, a loss of accuracy")
        if self.draws < 19 and self.method != "patch":
            info(f"study.draws={self.draws}: with fewer than 19 controls no layer can be shown to be used")

    def measure(self, context: Context) -> pd.DataFrame:
        source = context.source
        require(
            isinstance(source, Pairs), "data=… holds no pairs: data=pairs, linzen, blimp, gulordava, marvin_linzen or contrastive"
        )
        require(
            all(item.source is None for item in source.items),
            "+experiment=causal is of language models without a source: data.target_only=true reads the target side alone",
        )
        model = language_model(context.encoder)
        run = Run(self, context, model, _read_as(source, model), source.sha256)
        return pd.DataFrame(run.patched() if self.method == "patch" else run.taken_out())

    def report(self, frame: pd.DataFrame, folder: Path) -> None:
        """causal.csv, table.md, a heat map layer × role for each encoder and kind of units, losses by layer."""
        report.write(frame, folder)


def _read_as(source: Pairs, model: LanguageModel) -> list[Item]:
    """The items as `+experiment=minimal_pairs` reads them: punctuation apart for networks, without what follows the target."""
    items = [item.cut() if model.kind == "causal" else item for item in source.items]
    return [item.split() for item in items] if isinstance(model, NetworkModel) and not source.tokenised else items


@dataclass
class Run:
    """The study, its inputs, and the items as the model reads them."""

    study: Causal
    context: Context
    model: LanguageModel
    items: list[Item]
    sha256: str

    @cached_property
    def convention(self) -> Convention:
        return Convention(masking=self.study.masking).of(self.model)

    @cached_property
    def layers(self) -> list[int]:
        return layers_of(self.study.layers, len(self.context.encoder.layer_names))

    def _part(self, layer: int, **more: Any) -> dict[str, Any]:
        model = key_of(convention_key(self.model, self.convention))
        return {"study": "causal", "version": VERSION, "model": model, "items": self.sha256, "layer": layer, **more}

    def _row(self, layer: int, **more: Any) -> dict[str, Any]:
        name = self.context.encoder.layer_names[layer] if layer >= 0 else "all LSTMs"
        of = {"encoder": self.model.name, "data": self.context.source.name, "method": self.study.method}
        return {**of, "property": self.study.property, "layer": layer, "layer_name": name, **more}

    # Patching.

    def patched(self) -> list[dict[str, Any]]:
        made, left = patching.contrasts(self.items, whole=self.model.kind == "masked")
        aligned, more = patching.aligned(self.model, made, self.convention)
        left += more
        for reason, n in left.most_common():
            info(f"{n} of {len(self.items)} items left out: {reason}")
        if not aligned:
            reasons = "; ".join(f"{n}: {reason}" for reason, n in left.most_common())
            raise ConfigError(
                f"study.method=patch: no two items of data={self.context.source.name} make a base and a source ({reasons}); give "
                "pairs such as 'the dog near the cats is<TAB>the dog near the cats are' and the same with 'dogs'"
            )
        rows = []
        for k, layer in enumerate(self.layers):
            rows += self.context.finished(self._part(layer, method="patch"), partial(self._layer, aligned, layer, left))
            info(f"layer {layer} is patched ({k + 1} of {len(self.layers)})")
        whole = [row for row in rows if row["layer"] == -1]  # of all LSTMs, the same from each layer
        return [row for row in rows if row["layer"] >= 0] + whole[: len({row["role"] for row in whole})]

    def _layer(self, aligned: Sequence[patching.Aligned], layer: int, left: Counter[str]) -> list[dict[str, Any]]:
        frame = pd.DataFrame(patching.patch(self.model, aligned, [layer]))
        rows = []
        for (level, units, role), part in frame.groupby(["layer", "units", "role"], sort=False):
            rows.append(
                self._row(int(level), of=self.study.property, units=units, role=role, **effects(part), left_out=left.total())
            )
        return rows

    # Taking out.

    def taken_out(self) -> list[dict[str, Any]]:
        study, rows = self.study, []
        names = [study.property, *([study.other] if study.other else [])]
        tasks = {name: self._task(name) for name in names}
        if len({len(task.classes) for task in tasks.values()}) > 1:
            counts = ", ".join(f"{name} has {len(task.classes)}" for name, task in tasks.items())
            raise ConfigError(f"study.other={study.other} takes out another number of directions: {counts} classes")
        cells = cell_layers(self.context.encoder)
        for layer in self.layers:
            kinds: dict[str, list[erasing.Place]] = {"hidden": [(layer, None)]}
            if layer in cells and study.method == "erase":
                kinds = ({} if study.whole else kinds) | {"hidden+cell": [(layer, "hidden"), (layer, "cell")]}
            for units, places in kinds.items():
                for name, task in tasks.items():
                    part = self._part(layer, kind=units, task=task.sha256, seed=self.context.seed, options=self._options())
                    row = self.context.results.get(part)
                    if row is None or self.context.force:
                        row = self.context.results.put(part, [self._compared(places, task)])
                    rows.append(self._row(layer, of=name, units=units, role="all tokens", **row[0]))
            info(f"layer {layer}: {rows[-1]['layer_name']} is done")
        return rows

    def _options(self) -> dict[str, Any]:
        names = ("method", "erasure", "units", "value", "draws", "kl", "margin", "train")
        return {name: getattr(self.study, name) for name in names}

    @cached_property
    def _before(self) -> erasing.Behaviour:
        before = erasing.behaviour(self.model, self.items, self.convention, [], self.study.kl)
        erasing.scored(before)
        return before

    def _compared(self, places: list[erasing.Place], task: Task) -> dict[str, Any]:
        study, seed, before = self.study, self.context.seed, self._before
        drawn = task.subset(study.train, seed, study.train)
        states = erasing.labelled(self.model, drawn.train, places, seed)
        if study.method == "erase":
            dev = erasing.labelled(self.model, drawn.dev, places, seed) if study.erasure == "inlp" else None
            taken = erasing.erased(self.model, states, study.erasure, study.draws, seed, dev)
        else:
            [(place, one)] = states.items()
            taken = erasing.ablated(self.model, place, one, study.value, study.units, study.draws, seed)
        measured = erasing.compared(self.model, self.items, self.convention, taken, before, study.margin)
        renamed = {"loss": "effect", "control_loss": "control_effect"}
        return {
            next((key.replace(a, b) for a, b in sorted(renamed.items()) if key.startswith(a)), key): v
            for key, v in measured.items()
        }

    def _task(self, name: str) -> Task:
        source = named_source("study.labels", self.study.labels, self.context.home)
        source = SentEvalFolder(str(Path(source).expanduser())) if isinstance(source, str) else source
        [task] = source.tasks([PROPERTIES.get(name, name)])
        task.need_classes(f"study.property={name}")
        return task


def effects(part: pd.DataFrame) -> dict[str, Any]:
    """Effects of contrasts at one place, each contrast a row of `patching.patch`."""
    gap = (part.source - part.base).to_numpy()
    near = np.abs(gap) < patching.APART
    with np.errstate(divide="ignore", invalid="ignore"):
        effect = np.where(near, np.nan, (part.patched - part.base).to_numpy() / gap)
        control = np.where(near, np.nan, (part.control - part.base).to_numpy() / gap)
    own, other = mean_ci(effect), mean_ci(control)
    taken, right = part.patched.to_numpy() < 0, part.base.to_numpy() > 0
    share = wilson(int(taken.sum()), len(part))
    return {
        "n": len(part), "apart": int(near.sum()), "before": float(part.base.mean()), "after": float(part.patched.mean()),
        "effect": own.value, "effect_low": own.lower, "effect_high": own.upper,
        "control_effect": other.value, "control_effect_low": other.lower, "control_effect_high": other.upper,
        "iia": share.value, "iia_low": share.lower, "iia_high": share.upper,
        "flip": float(taken[right].mean()) if right.any() else np.nan, "kl": float(part.kl.mean()),
    }  # fmt: skip
