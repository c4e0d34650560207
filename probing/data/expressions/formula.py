"""A formula: its text, its values as a game, the links that it binds, and the file format of lists of formulas.

As a game, a variable is 1 if its player is present and 0 if absent (player i is x(i+1)). A link between neighbours is bound if one
of the formula's groups spans it; a group is a set of variables that one product (conjunction, power) joins. Groups of positive sign
belong to the best partition, those of negative sign to the worst.

Where a formula is exactly additive across a link, joining and cutting give the same sum, and no method can decide: such a tie is
free (one of two scores ignores it). Of a group that must be broken (a positive one in the worst partition) one cut suffices, so all
its links are free unless it has just one. AND-OR has no ties: an OR link is strictly negative.

Formulas are never run as code. There are no parentheses, no division, and no unary minus except at the start.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.special import ndtri

from probing.data.readers.files import read_text
from probing.errors import DataError
from probing.types import Coalitions, Values

Group = tuple[int, tuple[int, ...]]
"""Sign (1 or -1) and players (from 0, ascending) of a group."""

MAX_VARIABLES = 64
_PRECEDENCE = {"|": 0, "&": 1, "+": 2, "-": 2, "*": 3, "**": 4}
_APPLY: dict[str, Callable[[Values, Values], Values]] = {
    "|": np.maximum,
    "&": np.minimum,
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "**": np.power,
}
_SIDES = {"max": ("max",), "both": ("max", "min")}


@dataclass(frozen=True)
class LinkTruth:
    """The links of a segment of m players, bool (m - 1,) each: bound in the best and the worst partition, and free in each."""

    max: np.ndarray
    min: np.ndarray
    max_free: np.ndarray
    min_free: np.ndarray


@dataclass(frozen=True)
class Expression:
    """A formula; called on coalitions, bool (m, n), it returns its values, (m,).

    Attributes:
        text: tokens with spaces between.
        groups: the sets of variables that it binds.
        ties: whether links outside the groups are exact ties.
        sides: the partitions that the truth is about, ("max",) or ("max", "min").
        noise: standard deviation of the noise on each coalition's value, drawn from `seed`.

    Raises:
        DataError: the text is not a formula, or a group is not made of its variables.
    """

    family: str
    text: str
    groups: tuple[Group, ...]
    ties: bool = True
    sides: tuple[str, ...] = ("max",)
    noise: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        n = self.n_players
        for sign, players in self.groups:
            if sign not in (1, -1) or len(players) < 2 or list(players) != sorted(set(players) & set(range(n))):
                raise DataError(
                    f"group {sign:+d} of the players {players} is not a sign and two or more of {n} variables, ascending"
                )
        for sign, players in self.groups:
            for other, others in self.groups:
                if sign > other and players[0] <= others[-1] and others[0] <= players[-1]:
                    raise DataError(
                        "groups of opposite signs reach into each other, so which links are bound depends on the values"
                    )
        if not 0 <= self.noise < np.inf or self.seed < 0:
            raise DataError(f"noise={self.noise}, seed={self.seed}: both are at least 0")

    @property
    def tokens(self) -> list[str]:
        return self.text.split()

    @cached_property
    def _program(self) -> tuple[list[str | int | float], int]:
        return parse(self.text)

    @property
    def n_players(self) -> int:
        return self._program[1]

    def __call__(self, coalitions: Coalitions, /) -> Values:
        stack: list[Values] = []
        with np.errstate(over="ignore"):
            for step in self._program[0]:
                if isinstance(step, str):
                    right = stack.pop()
                    stack.append(_APPLY[step](stack.pop(), right))
                else:
                    stack.append(coalitions[:, step].astype(float) if isinstance(step, int) else np.full(len(coalitions), step))
        return stack[0] + self.noise * _normal(coalitions, self.seed) if self.noise else stack[0]

    def truth(self, segment: tuple[int, int]) -> LinkTruth:
        """The truth about the links of the segment [start, stop), from the parts of the groups inside of it."""
        start, stop = segment
        spans: dict[int, list[tuple[int, int]]] = {1: [], -1: []}
        for sign, players in self.groups:
            inside = [i - start for i in players if start <= i < stop]
            if len(inside) > 1:
                spans[sign].append((inside[0], inside[-1]))
        links = {}
        for side, sign in (("max", 1), ("min", -1)):
            bound, forced = np.zeros((2, stop - start - 1), bool)
            for first, last in spans[sign]:
                bound[first:last] = True
            for first, last in spans[-sign]:
                forced[first] |= last == first + 1
            links[side], links[f"{side}_free"] = bound, ~bound & ~forced & self.ties
        return LinkTruth(**links)


def parse(text: str) -> tuple[list[str | int | float], int]:
    """A formula in postfix order (player numbers, numbers, operators) and its number of variables.

    Raises:
        DataError: not a formula of variables x1..xn without a gap, numbers, and + - * ** (or & |); the message names the token.

    >>> parse("x1 + x2 * x3")
    ([0, 1, 2, '*', '+'], 3)
    """
    tokens = text.split()
    program: list[str | int | float] = []
    waiting: list[str] = []
    if tokens[:1] == ["-"]:
        program.append(0.0)
    for at, token in enumerate(tokens):
        wants_operator = (at + (tokens[0] == "-")) % 2 == 1
        if wants_operator != (token in _PRECEDENCE):
            raise DataError(
                f"token {at + 1}, {token!r}, is where {'an operator' if wants_operator else 'a variable or number'} must be"
            )
        if token not in _PRECEDENCE:
            program.append(_operand(token, at))
            continue
        while waiting and (_PRECEDENCE[waiting[-1]], token != "**") >= (_PRECEDENCE[token], True):
            program.append(waiting.pop())
        waiting.append(token)
    if not tokens or tokens[-1] in _PRECEDENCE:
        raise DataError("the formula ends where a variable or number must be")
    program += waiting[::-1]
    players = {step for step in program if isinstance(step, int)}
    n = max(players, default=-1) + 1
    if not 0 < n == len(players):
        missing = ", ".join(f"x{i + 1}" for i in sorted(set(range(n)) - players)) or "x1"
        raise DataError(f"variables are x1, x2, .. without a gap; missing: {missing}")
    if set(tokens) & {"&", "|"} and any(isinstance(step, float) or step in ("+", "-", "*", "**") for step in program):
        raise DataError("& and | do not mix with numbers and other operators")
    return program, n


def _operand(token: str, at: int) -> int | float:
    if match := re.fullmatch(r"x([1-9]\d{0,3})", token, re.ASCII):
        if int(match[1]) > MAX_VARIABLES:
            raise DataError(f"token {at + 1}, {token!r}: at most {MAX_VARIABLES} variables")
        return int(match[1]) - 1
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", token, re.ASCII):
        return float(token)
    raise DataError(f"token {at + 1}, {token!r}, is no variable (x1, x2, ..), number (0.5) or operator ({' '.join(_PRECEDENCE)})")


def _normal(coalitions: Coalitions, seed: int) -> Values:
    """A standard normal number for each coalition, a function of its bit mask and `seed`: splitmix64 (Steele et al. 2014)."""
    bits = np.uint64(1) << np.arange(coalitions.shape[1], dtype=np.uint64)
    mixed = (coalitions * bits).sum(1, dtype=np.uint64) + np.random.default_rng(seed).integers(2**63, dtype=np.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return ndtri((mixed >> np.uint64(11)).astype(float) / 2**53 + 2**-54)


def write(path: str | Path, expressions: Iterable[Expression]) -> None:
    """Write one expression a line: family, text, groups (+x2,x3 -x5,x6), tie or strict, sides (max or both), noise, seed."""
    lines = []
    for e in expressions:
        groups = " ".join("+-"[sign < 0] + ",".join(f"x{i + 1}" for i in players) for sign, players in e.groups)
        side = next(name for name, sides in _SIDES.items() if sides == e.sides)
        lines.append("\t".join([e.family, e.text, groups, "tie" if e.ties else "strict", side, repr(e.noise), str(e.seed)]) + "\n")
    Path(path).write_text("".join(lines), encoding="utf-8")


def read(path: str | Path) -> list[Expression]:
    """The expressions of a file in the format of `write`.

    Raises:
        DataError: the file cannot be read, or a line is not of the format; file and line are named.
    """
    *lines, rest = read_text(Path(path)).split("\n")
    expressions = []
    for number, line in enumerate([*lines, rest] if rest else lines, 1):
        fields = line.split("\t")
        try:
            if len(fields) != 7:
                raise DataError(f"{len(fields)} column(s), 7 are needed: family, formula, groups, ties, side, noise, seed")
            family, text, groups, ties, side, noise, seed = fields
            if ties not in ("tie", "strict") or side not in _SIDES:
                raise DataError(f"ties={ties!r}, side={side!r}: tie or strict, max or both")
            if not all(re.fullmatch(r"[+-]x\d+(,x\d+)+", group, re.ASCII) for group in groups.split()):
                raise DataError(f"groups={groups!r}: each is a sign and variables, as in +x2,x3")
            made = tuple((1 if g[0] == "+" else -1, tuple(int(x[1:]) - 1 for x in g[1:].split(","))) for g in groups.split())
            expressions.append(Expression(family, text, made, ties == "tie", _SIDES[side], float(noise), int(seed)))
        except (DataError, ValueError) as error:
            raise DataError(f"{path}:{number}: {error}") from None
    return expressions
