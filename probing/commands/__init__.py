"""What the small commands do: help, lists, completion, and the reading of results. `probing.cli` registers them."""
