"""From a request to a table: plan of cells, computation, statistics, tables of results, adaptive sample sizes (flash)."""
