"""Explanations of a classifier's predictions by the words of the sentence, and how they are judged."""
