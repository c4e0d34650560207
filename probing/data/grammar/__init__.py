"""A small English grammar with a lexicon, which yields sentences with their trees."""
