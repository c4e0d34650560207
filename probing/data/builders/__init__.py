"""The ten tasks made from any parsed text or from the built-in grammar, in SentEval's file format."""

from probing.data.builders.make import BUILDERS, PENN, UD, grammar_tasks, make_tasks
from probing.data.readers.treebank import read_source

__all__ = ["BUILDERS", "PENN", "UD", "grammar_tasks", "make_tasks", "read_source"]
