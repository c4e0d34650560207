"""Tasks: their cards, splits and subsets; where they come from (files of a format, treebanks, a grammar, expressions)."""
