"""Files on disk: vectors of sentences in shards, results of cells, locks."""
