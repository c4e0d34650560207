"""`probing list`: the kinds of things that a command line can name, and the names of each kind."""

from __future__ import annotations

from collections.abc import Iterator

from probing import config
from probing.errors import ConfigError, did_you_mean

KINDS = {
    "tasks": "what is probed for: task=NAME",
    "encoders": "what is probed: encoder=NAME",
    "probes": "classifiers with their protocols: probe=NAME",
    "data": "where sentences come from: data=NAME",
    "suites": "groups of tasks: suite=NAME",
    "experiments": "whole set-ups and studies: +experiment=NAME",
    "objectives": "what a network is trained on: objective=NAME",
}


def lines(kind: str | None) -> Iterator[str]:
    """The lines of a list; None: the kinds.

    Raises:
        ConfigError: an unknown kind.
    """
    if kind is None:
        yield from (f"probing list {name:12} {about}" for name, about in KINDS.items())
    elif kind not in KINDS:
        raise ConfigError(f"list what? {kind!r} is unknown{did_you_mean(kind, KINDS)} (allowed: {', '.join(KINDS)})")
    elif kind == "tasks":
        from probing.data.card import load_card, names

        for name in names():
            card = load_card(name)
            yield f"{name:24} {card.get('paper_name', ''):10} {card.get('group', ''):10} {card.get('about', '')}"
    else:
        group = kind.removesuffix("s")
        for name in config.names(group):
            yield f"{name:24} {config.about(group, name)}"
            size, needs = (config.fact(group, name, what) for what in ("size", "needs"))
            if group == "experiment" and (paper := config.read(group, name).get("paper")):
                yield f"{'':24} paper: {paper['cite']}"
            if facts := "; ".join(filter(None, [size, f"needs {needs}" if needs else ""])):
                yield f"{'':24} {facts}"
