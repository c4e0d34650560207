"""Files and generators of sentences: SentEval's format, treebanks, the built-in grammar, downloads."""
