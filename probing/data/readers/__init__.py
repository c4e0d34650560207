"""Readers of text formats: SentEval, classification files, bracketed trees, CoNLL-U, plain text."""
