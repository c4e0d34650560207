"""Presets, the YAML files of `conf/`, turned into the dataclass that their `_target_` names; and the keys of a job, checked.

The Python API and Hydra share it: every encoder, probe, objective, study and data source is a dataclass whose fields are its
options, and a preset is checked against them, key by key and type by type, before anything is built.
"""

from __future__ import annotations

import dataclasses
import importlib
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, overload

import yaml

from probing.errors import ConfigError, did_you_mean
from probing.paths import CONF, OUT

T = TypeVar("T")

MOVED = {
    "probing.encoders.checkpoint.CheckpointEncoder": "probing.encoders.networks.checkpoint.CheckpointEncoder",
    "probing.encoders.convolutional.CNN": "probing.encoders.networks.convolutional.CNN",
    "probing.encoders.convolutional.GatedCNN": "probing.encoders.networks.convolutional.GatedCNN",
    "probing.encoders.elmo.ELMoEncoder": "probing.encoders.elmo.elmo.ELMoEncoder",
    "probing.encoders.elmo_style.ELMoStyle": "probing.encoders.elmo.elmo_style.ELMoStyle",
    "probing.encoders.embeddings.InputEmbeddings": "probing.encoders.hf.embeddings.InputEmbeddings",
    "probing.encoders.huggingface.HuggingFaceEncoder": "probing.encoders.hf.huggingface.HuggingFaceEncoder",
    "probing.encoders.python.PythonEncoder": "probing.encoders.user.python.PythonEncoder",
    "probing.encoders.recurrent.LSTM": "probing.encoders.networks.recurrent.LSTM",
    "probing.encoders.textgenrnn.TextgenrnnEncoder": "probing.encoders.elmo.textgenrnn.TextgenrnnEncoder",
    "probing.encoders.transformer.Transformer": "probing.encoders.networks.transformer.Transformer",
    "probing.objectives.Classification": "probing.training.classification.Classification",
    "probing.objectives.LanguageModel": "probing.training.language_model.LanguageModel",
    "probing.probes.protocols.LogisticPath": "probing.probes.path.LogisticPath",
    "probing.probes.protocols.SentEvalLogReg": "probing.probes.senteval.SentEvalLogReg",
    "probing.probes.protocols.SentEvalTorch": "probing.probes.senteval.SentEvalTorch",
    "probing.sources.Expressions": "probing.data.sources.ExpressionCorpus",
    "probing.sources.Folder": "probing.data.sources.SentEvalFolder",
    "probing.sources.Grammar": "probing.data.sources.GrammarCorpus",
}
"""Old `_target_` -> new one, for classes that have moved: checkpoints, manifests and presets of users name the old ones."""


def names(group: str) -> list[str]:
    """Names of the presets of a group: encoder, probe, data, objective, suite or experiment."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def about(group: str, name: str) -> str:
    """The preset's description: its first comment line that is not a Hydra directive."""
    for line in (CONF / group / f"{name}.yaml").read_text(encoding="utf-8").splitlines():
        if line.startswith("# ") and "@package" not in line:
            return line[2:].strip()
    return ""


def fact(group: str, name: str, what: str) -> str:
    """What the preset's comment `# what: …` says, such as `# size: …` or `# needs: …`; an empty string without one."""
    for line in (CONF / group / f"{name}.yaml").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"# {what}: "):
            return line.removeprefix(f"# {what}: ").strip()
    return ""


def read(group: str, name: str) -> dict[str, Any]:
    """The preset's mapping.

    Raises:
        ConfigError: no preset of that name in the group.
    """
    if name not in names(group):
        raise ConfigError(f"unknown {group} {name!r}{did_you_mean(name, names(group))} (allowed: {', '.join(names(group))})")
    return yaml.safe_load((CONF / group / f"{name}.yaml").read_text(encoding="utf-8"))


def first_target(cls: type) -> str:
    """The `_target_` of a class before it moved: keys use it, so that a move changes no key."""
    target = f"{cls.__module__}.{cls.__qualname__}"
    return next((old for old, new in MOVED.items() if new == target), target)


def build(options: Mapping[str, Any], what: str) -> Any:
    """The dataclass that `_target_` names (or named before it moved, see `MOVED`), made from the other keys.

    Raises:
        ConfigError: `_target_` missing or not found, a key that the dataclass has not, a value missing or of the wrong type.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

    values = dict(options)
    target = values.pop("_target_", None)
    if not isinstance(target, str) or "." not in target:
        raise ConfigError(f"{what}: _target_ must name a class, such as probing.encoders.hf.huggingface.HuggingFaceEncoder")
    module, _, attribute = MOVED.get(target, target).rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, TypeError, ValueError) as error:  # the last two: a name that begins with a dot
        raise ConfigError(f"{what}: _target_ {target!r} cannot be found: {error}") from None
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        raise ConfigError(f"{what}: _target_ {target!r} is not a dataclass, so its options cannot be checked")
    fields = [field.name for field in dataclasses.fields(cls) if field.init]
    group = what.split()[0]
    try:
        node = OmegaConf.merge(OmegaConf.structured(cls), values)
        if missing := sorted(OmegaConf.missing_keys(node)):
            raise ConfigError(f"set {' '.join(f'{group}.{key}=…' for key in missing)} (options: {', '.join(fields)})")
        complete: Any = OmegaConf.to_container(node, resolve=True)
        return cls(**complete)
    except ConfigKeyError as error:
        near = did_you_mean(str(error.key), fields)
        raise ConfigError(f"{what}: unknown option {error.key!r}{near} (options: {', '.join(fields)})") from None
    except OmegaConfBaseException as error:
        place, reason = str(error.full_key or "value"), str(error).splitlines()[0]
        given = values.get(place)
        if "is not a ListConfig" in reason and not isinstance(given, list):  # one value, where a list is due
            raise ConfigError(f"{what}: {place}={given} must be a list: '{group}.{place}=[{given}]'") from None
        raise ConfigError(f"{what}: {place}: {reason}") from None


LISTS = ("task", "layer", "pooling", "seed", "controls", "floors", "measures", "metrics", "log")
"""Keys whose value is a list: loops inside one job."""

GROUPS = ("data", "encoder", "probe")
MEASURES = ("mdl", "mdl_variational", "v_information", "layers", "pareto", "structural")
"""Keys with the options of measures, presets of `conf/measure`."""

KEYS = (*GROUPS, *LISTS, *MEASURES, *"twins resample resamples per_class precision paper study studies run".split())
PAPER = ("cite", "probe", "encoders", "poolings")
"""Keys of `paper`: what a paper used (`probing.report.paper`)."""
TRAIN_KEYS = ("encoder", "objective", "data", "seed", "run")
INTERACT_KEYS = (
    *("encoder", "text", "segment", "value", "target", "head", "layer", "masking", "replacement"),
    *("method", "budget", "seed", "shapiq", "run"),
)
SCORE_KEYS = ("encoder", "text", "against", "file", "html", "start", "end", "masking", "words", "tokens", "run")
ATTRIBUTE_KEYS = (
    *("encoder", "text", "method", "masking", "replacement", "target", "head", "layer", "budget", "seed", "html", "run"),
)
NEURON_KEYS = ("encoder", "layer", "unit", "file", "text", "pooling", "least", "words", "sentences", "html", "run")


@dataclass
class JobConfig:
    dir: str = str(OUT)
    threads: int | None = None


@dataclass
class TrainConfig(JobConfig):
    force: bool = False


@dataclass
class RunConfig(TrainConfig):
    name: str | None = None
    store: str | None = None
    store_dtype: str | None = None
    dry: bool = False


DEFAULTS = {
    "run": {"data": "grammar", "encoder": "minilm", "probe": "fast"},
    "train": {"encoder": "lstm", "objective": "sst2"},
    "interact": {"encoder": "minilm"},
    "score": {"encoder": "minilm"},
    "neuron": {"encoder": "minilm"},
    "attribute": {"encoder": "minilm"},
}
"""The presets of a verb's groups where the command line names none."""


def known_keys(arguments: list[str], verb: str) -> list[str]:
    """Every key of the configuration that the group choices of the command line make."""
    schema, own = {
        "train": (TrainConfig, (*TRAIN_KEYS, "data.root")),
        "interact": (JobConfig, INTERACT_KEYS),
        "score": (JobConfig, SCORE_KEYS),
        "neuron": (JobConfig, NEURON_KEYS),
        "attribute": (JobConfig, ATTRIBUTE_KEYS),
    }.get(verb, (RunConfig, (*LISTS, *GROUPS, "suite", "twins", "resample", "resamples", "per_class", "precision")))
    keys = [*(f"run.{option.name}" for option in dataclasses.fields(schema)), *own]
    for group, default in DEFAULTS.get(verb, DEFAULTS["run"]).items():
        chosen = next((w.partition("=")[2].split(",")[0] for w in arguments if w.startswith(f"{group}=")), default)
        if chosen in names(group):
            keys += [f"{group}.{option}" for option in read(group, chosen)]
    for chosen in [word.partition("=")[2] for word in arguments if word.startswith("+experiment=")]:
        if chosen in names("experiment"):
            keys += [f"study.{option}" for option in read("experiment", chosen).get("study") or () if option != "_target_"]
    return keys


def nearest_key(key: str, known: list[str]) -> str:
    """`"; did you mean 'x'?"` for the option of a study of that name, or in the plural; else for the nearest key."""
    of_study = [f"study.{name}" for name in (key, f"{key}s") if f"study.{name}" in known]
    return f"; did you mean '{of_study[0]}'?" if of_study else did_you_mean(key, known)


@dataclass(frozen=True)
class Done:
    """How a job ended: how many of its cells (or rules) failed, and the folder of its run if it has one."""

    failed: int = 0
    folder: Path | None = None


def checked(options: Mapping[str, Any], schema: type, groups: tuple[str, ...], keys: tuple[str, ...]) -> Any:
    """The part `run`, checked by its schema; the lists are checked where they are read."""
    for group in groups:
        if not isinstance(options.get(group), dict):
            raise ConfigError(f"set {group}=… (allowed: {', '.join(names(group))})")
    for key in options:
        if key not in keys:
            raise ConfigError(f"unknown key {key!r}{did_you_mean(key, keys)}")
        if key in MEASURES and not isinstance(options[key], dict):
            instead = f"layers to probe: layer={options[key]}" if key == "layers" else f"to measure it: measures={key}"
            raise ConfigError(f"{key}={options[key]}: {key} holds the options of a measure ({key}.OPTION=…); {instead}")
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        run: Any = OmegaConf.to_container(OmegaConf.merge(OmegaConf.structured(schema), options["run"]))
        if (name := run.get("name")) is not None and (name in ("", ".", "..") or {"/", "\\"} & set(name)):
            raise ConfigError(f"run.name={name!r} is the name of a folder in runs/, without slashes (its place: run.dir)")
        return schema(**run)
    except OmegaConfBaseException as error:
        raise ConfigError(f"run.{error.key}: {str(error).splitlines()[0]}") from None


def paper(given: Any) -> Mapping[str, Any] | None:
    """What an experiment says of its paper; ConfigError for anything but a mapping of `PAPER` with `cite`, or null."""
    if given is None:
        return None
    if not isinstance(given, Mapping) or not given.get("cite") or set(given) - set(PAPER):
        raise ConfigError(f"paper={given} must be null, or a mapping with cite, and of {', '.join(PAPER[1:])} what the paper used")
    return given


@overload
def listed(value: Any, kind: type[T], key: str, every: tuple[T, ...], none: bool = False) -> tuple[T, ...]: ...
@overload
def listed(value: Any, kind: type[T], key: str) -> tuple[T, ...] | None: ...
def listed(value: Any, kind: type[T], key: str, every: tuple[T, ...] | None = None, none: bool = False) -> tuple[T, ...] | None:
    """A value or a list of them as a tuple; `all` is `every`, and `none`, where it is allowed, is empty.

    Raises:
        ConfigError: a value of another type, or an empty list.
    """
    if value == "all" and every != ():
        return every
    if value == "none" and none:
        return ()
    values = value if isinstance(value, list) else [value]
    if not values or value in ("none", ""):
        raise ConfigError(f"{key}={value} leaves nothing to do")
    for one in values:
        if not isinstance(one, kind) or isinstance(one, bool):
            raise ConfigError(f"{key}={one!r} is not {'a whole number' if kind is int else 'a name'}")
    return tuple(dict.fromkeys(values))


def quoted(value: str, quote: str = "'") -> str:
    r"""The value as one quoted text of Hydra's grammar, in which nothing is interpolated.

    >>> print(quoted(r'a "b" = ${c}', '"'))
    "a \"b\" = \${c}"
    """
    whole = re.sub(r"(\\*)\$\{", r"\1\1\\${", value)
    return quote + re.sub(rf"(\\*)({quote}|$)", lambda end: end[1] * 2 + ("\\" + quote if end[2] else ""), whole) + quote


def to_type(word: str, sweep: bool) -> str:
    """What to type in a shell for KEY=VALUE so that the value is one text to Hydra; in a sweep each part between commas is one."""
    key, _, value = word.partition("=")
    if not sweep:
        return shlex.quote(key + "=" + quoted(value, '"'))
    parts = [part if re.fullmatch(r"[\w./+-]+", part, re.A) else quoted(part, '"') for part in value.split(",")]
    return shlex.quote(f"{key}={','.join(parts)}")
