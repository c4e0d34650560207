"""Random expressions with known interactions: the three families of the paper, and harder ones.

    add_multiply     y = x1 + x2 * x3 + ..        each operator * or +; * binds
    and_or           y = x1 | x2 & x3 | ..        each operator & or |; & binds
    exponential      y = x1 ** x2 + x3 * x4 ..    at the start or after +: **, * or +; after *: * or +; after **: +; ** and * bind
    signed_products  real coefficients of both signs, products of one to four neighbours: truth split over best and worst
    overlapping      products that share a variable with the next
    nonadjacent      products with variables of other terms between theirs: no two neighbours need interact
    noisy            signed_products with noise, fixed for each coalition, on top
    null_additive, null_noisy    a sum with real coefficients, without and with noise: no interaction at all

The truth of the first three is about the best partition only, as published. In families with noise a link is free if it is an exact
tie without noise. The first three families are those of Zhang et al. 2021 (AAAI 35); the others were made for this package.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from probing.data.expressions.formula import MAX_VARIABLES, Expression, Group
from probing.errors import ConfigError, DataError, did_you_mean

BINDING = {"add_multiply": ("*",), "and_or": ("&",), "exponential": ("**", "*")}
"""The operators that bind, in the families that are chains: variables with an operator between each two."""


@dataclass(frozen=True)
class Family:
    """A family; `make` maps (generator, number of variables, operators) to the text and the groups of a formula."""

    make: Callable[[np.random.Generator, int, Sequence[str]], tuple[str, list[Group]]]
    operators: tuple[str, ...] = ()
    ties: bool = True
    sides: tuple[str, ...] = ("max", "min")
    noise: float = 0.0


def generate(
    family: str,
    count: int = 1000,
    variables: tuple[int, int] = (5, 7),
    seed: int = 0,
    operators: Sequence[str] | None = None,
    noise: float | None = None,
) -> list[Expression]:
    """Random expressions of a family; a larger `count` only appends more.

    Args:
        family: a key of `FAMILIES`.
        count: number of expressions.
        variables: fewest and most variables, drawn uniformly.
        operators: of the first three families; one named twice is drawn twice as often.
        noise: standard deviation of the noise; None: the family's.

    Raises:
        ConfigError: an unknown family or operator, or numbers out of range.

    >>> generate("add_multiply", 1, variables=(4, 4))[0].tokens[::2]
    ['x1', 'x2', 'x3', 'x4']
    """
    if family not in FAMILIES:
        raise ConfigError(f"no family {family!r}{did_you_mean(str(family), FAMILIES)}; known: {', '.join(FAMILIES)}")
    known = FAMILIES[family]
    drawn = known.operators if operators is None else tuple(operators)
    if set(drawn) - set(known.operators) or (known.operators and not drawn):
        allowed = " ".join(known.operators) or "none to choose"
        raise ConfigError(f"operators={list(drawn)} of {family}: allowed are {allowed}")
    low, high = variables
    if not 2 <= low <= high <= MAX_VARIABLES or count < 1:
        raise ConfigError(
            f"variables={low}-{high}, count={count}: 2 <= fewest <= most <= {MAX_VARIABLES}, and at least one expression"
        )
    if family == "exponential" and "+" not in drawn:
        raise ConfigError("operators of exponential: + must be one, it alone can follow **")
    expressions = []
    for i in range(count):
        rng = np.random.default_rng([seed, i, *family.encode()])
        text, groups = known.make(rng, int(rng.integers(low, high + 1)), drawn)
        amount = known.noise if noise is None else float(noise)
        noise_seed = int(rng.integers(2**31)) if amount else 0
        expressions.append(Expression(family, text, tuple(groups), known.ties, known.sides, amount, noise_seed))
    return expressions


def chain(family: str, text: str) -> Expression:
    """The expression of a text that one of the families of `BINDING` could have made.

    Raises:
        DataError: another family, variables out of order, or an operator that the family lacks.

    >>> chain("and_or", "x1 | x2 & x3").groups
    ((1, (1, 2)),)
    """
    variables, operators = text.split()[::2], text.split()[1::2]
    if family not in BINDING or set(operators) - set(FAMILIES[family].operators):
        raise DataError(f"{text!r} is no expression of {family} ({', '.join(BINDING)} have operators of their own)")
    if variables != [f"x{i + 1}" for i in range(len(operators) + 1)]:
        raise DataError(f"{text!r}: variables are x1, x2, .. in order, with an operator between two")
    return Expression(family, text, tuple(_runs(family, operators)), FAMILIES[family].ties, FAMILIES[family].sides)


def random_segment(n: int, rng: np.random.Generator) -> tuple[int, int]:
    """A segment as in the released toy experiment: 2 to min(n // 2, 6) players (at least 2), anywhere."""
    length = int(rng.integers(2, max(2, min(n // 2, 6)) + 1))
    start = int(rng.integers(0, n - length + 1))
    return start, start + length


def _runs(family: str, operators: Sequence[str]) -> list[Group]:
    """The groups of neighbours that only binding operators join."""
    groups, first = [], 0
    for i, operator in enumerate([*operators, None]):
        if operator not in BINDING[family]:
            if i > first:
                groups.append((1, tuple(range(first, i + 1))))
            first = i + 1
    return groups


def _chain(operators: Sequence[str]) -> str:
    return "x1" + "".join(f" {operator} x{i}" for i, operator in enumerate(operators, 2))


def _uniform(rng: np.random.Generator, n: int, operators: Sequence[str], family: str) -> tuple[str, list[Group]]:
    chosen = [operators[i] for i in rng.integers(len(operators), size=n - 1)]
    return _chain(chosen), _runs(family, chosen)


def _exponential(rng: np.random.Generator, n: int, operators: Sequence[str]) -> tuple[str, list[Group]]:
    chosen: list[str] = []
    for _ in range(n - 1):
        before = chosen[-1] if chosen else "+"
        allowed = [o for o in operators if o == "+" or before == "+" or (before == "*" and o == "*")]
        chosen.append(allowed[rng.integers(len(allowed))])
    return _chain(chosen), _runs("exponential", chosen)


def _sum(terms: Sequence[tuple[float, tuple[int, ...]]]) -> tuple[str, list[Group]]:
    """A sum of products, ordered by their variables, as in `0.52 * x1 * x2 - 1.2 * x3`, and its groups."""
    pieces = []
    for coefficient, players in sorted(terms, key=lambda term: term[1]):
        sign = "-" if coefficient < 0 else "+"
        pieces.append(f"{sign} {abs(coefficient):.2f} * " + " * ".join(f"x{i + 1}" for i in players))
    return " ".join(pieces).removeprefix("+ "), [(1 if c > 0 else -1, players) for c, players in terms if len(players) > 1]


def _coefficient(rng: np.random.Generator, signed: bool = True) -> float:
    size = float(np.round(rng.uniform(0.5, 2), 2))
    return -size if signed and rng.random() < 0.5 else size


def _blocks(rng: np.random.Generator, n: int, sizes: Sequence[int]) -> list[range]:
    """0..n-1 in blocks of random sizes, the last one cut at n."""
    blocks, start = [], 0
    while start < n:
        stop = min(n, start + int(rng.choice(sizes)))
        blocks.append(range(start, stop))
        start = stop
    return blocks


def _products(rng: np.random.Generator, n: int, operators: Sequence[str]) -> tuple[str, list[Group]]:
    return _sum([(_coefficient(rng), tuple(block)) for block in _blocks(rng, n, (1, 2, 3, 4))])


def _overlapping(rng: np.random.Generator, n: int, operators: Sequence[str]) -> tuple[str, list[Group]]:
    groups: list[tuple[int, ...]] = []
    for block in _blocks(rng, n, (1, 2, 3)):
        shared = block.start > 0 and rng.random() < 0.6
        groups.append(tuple(range(block.start - shared, block.stop)))
    return _sum([(_coefficient(rng, signed=False), players) for players in groups])


def _nonadjacent(rng: np.random.Generator, n: int, operators: Sequence[str]) -> tuple[str, list[Group]]:
    terms: list[tuple[float, tuple[int, ...]]] = []
    for block in _blocks(rng, n, (1, 3, 4, 5)):
        inner = block[1:-1]  # both ends are in the product, and at least one variable between them is not
        excluded = {i for i in inner if rng.random() < 0.3} | ({int(rng.choice(inner))} if inner else set(block[1:]))
        terms.append((_coefficient(rng), tuple(i for i in block if i not in excluded)))
        terms += [(_coefficient(rng), (i,)) for i in sorted(excluded)]
    return _sum(terms)


def _additive(rng: np.random.Generator, n: int, operators: Sequence[str]) -> tuple[str, list[Group]]:
    return _sum([(_coefficient(rng), (i,)) for i in range(n)])


FAMILIES = {
    "add_multiply": Family(partial(_uniform, family="add_multiply"), ("*", "+"), sides=("max",)),
    "and_or": Family(partial(_uniform, family="and_or"), ("&", "|"), ties=False, sides=("max",)),
    "exponential": Family(_exponential, ("**", "*", "+"), sides=("max",)),
    "signed_products": Family(_products),
    "overlapping": Family(_overlapping),
    "nonadjacent": Family(_nonadjacent),
    "noisy": Family(_products, noise=0.05),
    "null_additive": Family(_additive),
    "null_noisy": Family(_additive, noise=0.05),
}
"""All families, the three of the paper first."""
