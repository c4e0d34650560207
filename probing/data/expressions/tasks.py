"""The first three families as tasks in SentEval's format, whose sentences are expressions with inputs.

    x1 + 0 * x3    the expression x1 + x2 * x3 where x2 is absent (0); the label is the value, a whole number

The sentence is a formula of its value, and masking a variable replaces its word by 0. Every expression is drawn once and lies in
one split (70, 10 and 20 %). Of its 2^n inputs `inputs` are drawn, each once: that of all ones always, the others so that each value
of the expression is drawn about as often. A dev or test expression with a value that train lacks moves to train, so that a
classifier knows every class.

    ROOT/<family>.txt               split, value, sentence
        /<family>.expressions.tsv   the expressions as `write` writes them: train, dev, test in this order
        /<family>.card.json         options, counts, hashes
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from probing.data.expressions.families import BINDING, generate
from probing.data.expressions.formula import Expression, write
from probing.errors import ConfigError, DataError, did_you_mean
from probing.files import replace_file
from probing.types import Coalitions, Labels

SPLITS = {"tr": 0.7, "va": 0.1, "te": 0.2}
MAX_VARIABLES = 16
"""The limit exists because all 2^n inputs of an expression are listed to draw from them."""


def make_task(
    family: str,
    root: str | Path,
    count: int = 600,
    variables: tuple[int, int] = (5, 10),
    inputs: int = 32,
    operators: Sequence[str] | None = None,
    seed: int = 0,
) -> Path:
    """Make the three files of a family in `root` unless they are there; returns the path of the task file.

    The options are those of `probing.data.sources.ExpressionCorpus`; `family` is a key of `BINDING`.

    Raises:
        ConfigError: options out of range, fewer distinct expressions than `count`, or files of other options in `root`.
        DataError: a file in `root` was changed.
    """
    if family not in BINDING:
        raise ConfigError(
            f"{family!r} is no family that is a task{did_you_mean(str(family), BINDING)} (allowed: {', '.join(BINDING)})"
        )
    if not 5 <= count or not 2 <= inputs or variables[1] > MAX_VARIABLES:
        raise ConfigError(
            f"count={count}, inputs={inputs}, variables={list(variables)}: at least 5 expressions (three splits), 2 inputs, and at "
            f"most {MAX_VARIABLES} variables"
        )
    root = Path(root).expanduser()
    options = {"family": family, "count": count, "variables": list(variables), "inputs": inputs, "seed": seed}
    options["operators"] = None if operators is None else list(operators)
    path, card = root / f"{family}.txt", root / f"{family}.card.json"
    listed = root / f"{family}.expressions.tsv"
    if card.is_file():
        _check_made(card, options)
        return path
    splits = split(distinct(family, count, variables, seed, operators), seed)
    rng = np.random.default_rng([seed, 2, *family.encode()])
    rows = [(s, *row) for s, expressions in splits.items() for e in expressions for row in sentences(e, inputs, rng)]
    root.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{s}\t{value}\t{text}\n" for s, value, text in rows), encoding="utf-8")
    write(listed, [e for expressions in splits.values() for e in expressions])
    made = {
        "expressions": {s: len(es) for s, es in splits.items()},
        "sentences": {s: sum(r[0] == s for r in rows) for s in SPLITS},
        "sha256": {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in (path, listed)},
    }
    replace_file(
        card, json.dumps({"options": options, **made}, indent=1).encode() + b"\n"
    )  # last: it proves that the others are whole
    return path


def distinct(
    family: str, count: int, variables: tuple[int, int], seed: int = 0, operators: Sequence[str] | None = None
) -> list[Expression]:
    """`count` different expressions of a family, in the order in which `generate` draws them.

    Raises:
        ConfigError: there are too few, or an option of `generate` is out of range.
    """
    for times in (2, 8):
        expressions = list({e.text: e for e in generate(family, times * count, variables, seed, operators)}.values())
        if len(expressions) >= count:
            return expressions[:count]
    raise ConfigError(
        f"{family} of {variables[0]} to {variables[1]} variables: {len(expressions)} different expressions in {8 * count} draws, "
        f"{count} were asked for; lower count or raise variables"
    )


def split(expressions: Sequence[Expression], seed: int = 0) -> dict[str, list[Expression]]:
    """The expressions by split, in random order; every value of a dev or test expression occurs in train."""
    order = np.random.default_rng([seed, 1]).permutation(len(expressions))
    ends = np.round(np.cumsum(list(SPLITS.values())) * len(order)).astype(int)
    train, *rest = ([expressions[i] for i in part] for part in np.split(order, ends[:-1]))
    known = {v for e in train for v in values(e)[1]}
    splits: dict[str, list[Expression]] = {"tr": train, "va": [], "te": []}
    for name, part in zip(("va", "te"), rest, strict=True):
        for e in part:
            new = set(values(e)[1]) - known
            splits["tr" if new else name].append(e)
            known |= new
    return splits


def values(e: Expression) -> tuple[Coalitions, Labels]:
    """All inputs of an expression, bool (2^n, n), and its values, whole numbers (2^n,)."""
    rows = (np.arange(2**e.n_players)[:, None] >> np.arange(e.n_players) & 1).astype(bool)
    return rows, e(rows).astype(np.int64)


def sentences(e: Expression, inputs: int, rng: np.random.Generator) -> list[tuple[int, str]]:
    """Values and sentences of the drawn inputs, that of all ones first."""
    rows, value = values(e)
    _, which, counts = np.unique(value, return_inverse=True, return_counts=True)
    weights = 1 / counts[which]
    weights[-1] = 0  # all ones: drawn in any case
    drawn = rng.choice(len(rows), size=min(inputs, len(rows)) - 1, replace=False, p=weights / weights.sum())
    return [(int(value[i]), sentence(e, rows[i])) for i in (len(rows) - 1, *drawn)]


def sentence(e: Expression, present: np.ndarray) -> str:
    """The expression with its inputs, bool (n,), as a sentence.

    >>> sentence(generate("add_multiply", 1, (3, 3))[0], np.array([True, False, True])).split()[::2]
    ['x1', '0', 'x3']
    """
    return " ".join(token if i % 2 or present[i // 2] else "0" for i, token in enumerate(e.tokens))


def _check_made(card: Path, options: dict[str, Any]) -> None:
    """Check that the files beside `card` are unchanged and were made with these options."""
    try:
        made = json.loads(card.read_text(encoding="utf-8"))
        old, hashes = made["options"], made["sha256"]
        changed = [name for name, sha in hashes.items() if hashlib.sha256((card.parent / name).read_bytes()).hexdigest() != sha]
        differ = [f"{key}={old.get(key)!r}, not {options[key]!r}" for key in options if old.get(key) != options[key]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{card} cannot be used ({error}): remove it, and the file is made again") from None
    if old != options:
        raise ConfigError(
            f"{card.parent} holds {options['family']} of other options ({', '.join(differ)}): give those, or another folder"
        )
    if changed:
        raise DataError(
            f"{card.parent}: {', '.join(changed)} was changed since it was made; remove {card.name}, and it is made again"
        )
