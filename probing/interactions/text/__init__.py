"""Interactions of the words of a sentence: masking, games of an encoder or a classifier, many sentences, one command."""
