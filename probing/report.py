def write(runs, folder, against=None):
    from probing.tables import merge
    merge(r.table() for r in runs).to_csv(folder / "rows.csv")
