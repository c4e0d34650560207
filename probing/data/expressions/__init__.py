"""Expressions with known interactions: formulas, random families of formulas, and their files.

>>> from probing.data.expressions import generate
>>> [e.text for e in generate("and_or", 2, variables=(5, 5), seed=1)]
['x1 ...', 'x1 ...']
"""

from probing.data.expressions.families import BINDING, FAMILIES, chain, generate, random_segment
from probing.data.expressions.formula import Expression, LinkTruth, parse, read, write

__all__ = ["BINDING", "FAMILIES", "Expression", "LinkTruth", "chain", "generate", "parse", "random_segment", "read", "write"]
