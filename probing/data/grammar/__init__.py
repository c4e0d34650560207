"""A small English grammar with a lexicon: sentences with their trees, for the tasks that need no files."""
