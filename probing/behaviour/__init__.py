"""What a language model prefers: scores of sentences, minimal pairs, and the floors beside them."""
