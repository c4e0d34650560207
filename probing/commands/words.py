"""The words after `probing run`, `train`, `check` and so on: help, from the comments of `conf/*.yaml`, and completion.

Reads text files only, so that help and completion answer at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from probing import config
from probing.data.card import names as names_of_cards
from probing.paths import CONF

FILES = {name: name for name in ("train", "interact", "attribute", "score", "neuron")} | {"run": "config", "check": "config"}
"""The file of each verb in `conf`."""

OF_CHECK = ("run.dir", "run.threads")

EXAMPLES = {
    "run": (
        "probing run encoder=minilm pooling=mean task=tree_depth,past_present",
        "probing run data=senteval data.root=DIR encoder=hf encoder.name=FOLDER_OR_HUB_ID",
        "probing run -m data=senteval data.root=DIR encoder=bert,minilm   # one run per encoder, and a table of all",
    ),
    "train": (
        "probing train encoder=bilstm objective=sst2 data.root=DIR",
        "probing train -m encoder=lstm,cnn,transformer objective=sst2,cola data.root=DIR seed=1,2,3",
        "probing train encoder=lstm encoder.reads=both objective=lm data.root=DIR objective.files=[a.txt,b.conllu]",
    ),
    "check": (
        "probing check encoder=minilm",
        "probing check encoder=checkpoint encoder.path=FOLDER",
        "probing check encoder=python encoder.target=FILE.py:NAME",
    ),
    "interact": (
        'probing interact encoder=minilm text="The movie is not very good ." segment=3:6 value=mean',
        'probing interact encoder=checkpoint encoder.path=FOLDER text="The movie is not very good ." segment=3:6',
        'probing interact encoder=minilm text="The movie is not very good ." method=regression budget=2000 layer=0,6',
    ),
    "attribute": (
        'probing attribute encoder=checkpoint encoder.path=FOLDER text="The movie is not very good ." method=shapley,loo,lime',
        'probing attribute encoder=checkpoint encoder.path=FOLDER text="Not very good ." method=ig masking=zero html=a.html',
        'probing attribute encoder=minilm head=FOLDER masking=mask target=positive-negative text="The movie is not very good ."',
    ),
    "score": (
        'probing score encoder=checkpoint encoder.path=FOLDER text="The dogs near the cat are lost."',
        'probing score encoder=hf encoder.name=FOLDER_OR_HUB_ID masking=original text="The dogs near the cat are lost."',
        "probing score encoder=hf encoder.name=FOLDER_OR_HUB_ID file=FILE.txt",
    ),
    "neuron": (
        "probing neuron encoder=minilm layer=3 unit=17 file=FILE.txt",
        "probing neuron encoder=hf encoder.name=FOLDER_OR_HUB_ID layer=-1 unit=5 file=FILE.txt least=5 html=unit5.html",
        'probing neuron encoder=lstm layer=1 unit=0 text="The movie is not very good ." least=1',
    ),
}

CHOICES = {
    "score.start": ("mark", "none"),
    "score.end": ("leave", "score"),
    "score.words": ("null", "as_is", "split"),
    "score.masking": ("original", "within_word_l2r", "within_word_l2r_whitespace", "whole_word", "global_l2r"),
    "pooling": ("all", "cls", "mean", "max", "last", "sentence"),
    "controls": ("permuted", "word", "none"),
    "floors": ("all", "none", "majority", "length", "nb-unigram", "nb-bigram", "static", "random-weights"),
    "metrics": ("none", "all", "auroc", "average_precision", "mcc", "quadratic_kappa", "spearman"),
    "resample": ("null", "train"),
    "run.store_dtype": ("float32", "float16"),
}


class Key(NamedTuple):
    name: str
    default: str
    about: str


def keys(verb: str) -> list[Key]:
    """The keys of a verb with their defaults and comments, in the order of its file; groups have their own (`groups`)."""
    documented = list(_documented((CONF / f"{FILES[verb]}.yaml").read_text(encoding="utf-8")))
    return [key for key in documented if verb != "check" or key.name in OF_CHECK]


def groups(verb: str) -> dict[str, str]:
    """The groups of a verb with their defaults."""
    lines = (CONF / f"{FILES[verb]}.yaml").read_text(encoding="utf-8").splitlines()
    chosen = {match[1]: match[2] for line in lines if (match := re.match(r"  - (\w+): (\S+)", line))}
    return {"encoder": chosen["encoder"]} if verb == "check" else chosen


def presets(verb: str, group: str) -> list[str]:
    """The presets of a group that the verb can take: a training takes architectures."""
    names = config.names(group)
    return (
        [name for name in names if "for probing train" in config.about(group, name)]
        if (verb, group) == ("train", "encoder")
        else names
    )


def _documented(text: str) -> Iterator[Key]:
    inside = ""
    for line in text.splitlines():
        match = re.match(r"( *)(\w+):(?: +(.*?))?(?: +# (.*))?$", line)
        if not match or match[2] == "defaults":
            continue
        indent, name, default, about = match.groups()
        if indent:
            yield Key(f"{inside}.{name}", default or "", about or "")
        elif default:
            yield Key(name, default, about or "")
        else:
            inside = name


def help_of(verb: str, about: str) -> str:
    """The help of a verb: what it does, groups, keys with default and comment, examples."""
    lines = [
        f"Usage: probing {verb} [-m] [GROUP=NAME …] [KEY=VALUE …]",
        "",
        about,
        "",
        "Groups (options of one: GROUP.OPTION=VALUE):",
    ]
    for group, default in groups(verb).items():
        lines += [f"  {group}={default}", f"      one of {', '.join(presets(verb, group))}"]
    if verb == "run":
        lines += ["  +experiment=NAME", f"      one of {', '.join(config.names('experiment'))}"]
        lines += ["  +sweep=NAME", f"      with -m: jobs side by side, one of {', '.join(config.names('sweep'))}"]
    lines += ["", "Keys:"]
    for key in keys(verb):
        lines += [f"  {key.name}={key.default}", *([f"      {key.about}"] if key.about else [])]
    lines += ["", "Examples:", *(f"  {example}" for example in EXAMPLES[verb]), ""]
    lines.append("-m: a run for each combination of comma-separated values.  --hydra-help: flags of Hydra, such as --cfg job.")
    lines.append("Exit codes: 0 done, 1 a cell failed, 2 a mistake in the input, 130 interrupted.")
    return "\n".join(lines)


def complete(verb: str, before: Sequence[str], incomplete: str) -> list[str]:
    """Completions of the last word. Bash parts words at "=": there `before` ends with the key and "=", or, where nothing follows,
    with the key.

    >>> complete("run", [], "encoder=min"), complete("run", ["encoder", "="], "min"), complete("run", ["run.force"], "")
    (['encoder=minilm'], ['minilm'], ['true', 'false'])
    """
    joined = re.sub(r"\s+=\s+", "=", " ".join(before)).split()
    chosen = dict(word.split("=", 1) for word in joined if "=" in word)
    names = [*groups(verb), *(one.name for one in keys(verb)), *(["+experiment", "+sweep"] if verb == "run" else [])]
    for group, default in groups(verb).items():
        preset = chosen.get(group, default)
        if preset in config.names(group) and group != "suite":
            names += [f"{group}.{option}" for option in config.read(group, preset) if option != "_target_"]
    if incomplete == "" and before and before[-1] in names:
        return values(verb, before[-1])
    if before[-1:] == ["="]:
        return [value for value in values(verb, before[-2] if before[1:] else "") if value.startswith(incomplete)]
    key, equals, start = incomplete.partition("=")
    if equals:
        return [f"{key}={value}" for value in values(verb, key) if value.startswith(start)]
    matching = [name for name in dict.fromkeys(names) if name.startswith(incomplete)]
    if len(matching) == 1 and len(known := values(verb, matching[0])) > 1:  # several: the shell puts no blank behind
        return [f"{matching[0]}={value}" for value in known]
    return [f"{name}=" for name in matching]


def values(verb: str, key: str) -> list[str]:
    """The values of a key that are known without running anything."""
    group = key.lstrip("+")
    if group in groups(verb) or (verb == "run" and group in ("experiment", "sweep")):
        return presets(verb, group)
    if key == "task":
        return ["all", *names_of_cards()]
    default = next((one.default for one in keys(verb) if one.name == key), "")
    if default in ("true", "false"):
        return ["true", "false"]
    plain = (default,) if default not in ("", "null", "???") else ()
    return list(CHOICES.get(f"{verb}.{key}", CHOICES.get(key, plain)))
