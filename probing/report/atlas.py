"""The report of an atlas: a line for each property, verdicts in words, the layer strip, and its machine-readable twin.

atlas.html     the page, which loads nothing
table.md       the same lines
atlas.tex      the table for a paper
atlas.json     lines, verdicts and rows; atlas.parquet: the rows (docs/atlas.md has the schema)
figure-strip-N.svg, .pdf   an encoder: properties by layer, T beneath on the same axis
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from probing.evaluation.paired_tests import holm, mcnemar
from probing.evaluation.plots import PALETTE
from probing.files import replace_file
from probing.report.atlas_verdicts import LEVEL, adjusted, facets, percent, sentence, verdicts
from probing.report.figures import RC, labelled, svg
from probing.report.html import PAGES
from probing.report.latex import floating
from probing.report.markdown import md_table

SCHEMA = 1
NOTE = """# Atlas

A line for each property. Encoded: test score at the layer chosen on dev [95 %] and the layers above every floor; selectivity:
less the score on control labels [95 %] (ceiling of that control). Where: the best ten units, less as many of the best directions of
random bases. Used: points lost on pairs about the property when its directions are erased, less those of random directions of the
same rank; or, of a classifier, the layers whose direction its logit follows. Interacting: T in the first and in the last layer.
Transfers: score on another corpus [95 %] and the drop. Each column of an encoder is a family of tests (Holm, 0.05). A verdict is
never stronger than its test: "not shown" is not "no"."""


def write(frame: pd.DataFrame, folder: Path) -> None:
    """Writes the files of one or several encoders."""
    frame = adjusted(frame)
    lines = verdicts(frame)
    shown = table(frame, lines)
    compared, pictures = between(frame), []
    for k, (encoder, part) in enumerate(frame.groupby("encoder", sort=False)):
        title, figure, pdf = f"{encoder}: properties by layer", strip(part), io.BytesIO()
        pictures.append((title, labelled(svg(figure), title)))
        figure.savefig(pdf, format="pdf", metadata={"CreationDate": None})
        replace_file(folder / f"figure-strip-{k}.svg", pictures[-1][1].encode())
        replace_file(folder / f"figure-strip-{k}.pdf", pdf.getvalue())
    words = [
        (str(encoder), [sentence(line) for line in part.to_dict("records")])
        for encoder, part in lines.groupby("encoder", sort=False)
    ]
    absent = reasons(frame)
    blocks = [NOTE, md_table(shown)]
    blocks += [f"## In words: {encoder}\n\n" + "\n".join(f"- {one}" for one in own) for encoder, own in words]
    blocks += ["## Encoders compared\n\nMcNemar's test on the same items, Holm over this table.", md_table(compared)] * (
        len(compared) > 0
    )
    blocks += ["## Not applicable\n\n" + "\n".join(f"- {one}" for one in absent)] * (len(absent) > 0)
    replace_file(folder / "table.md", ("\n\n".join(blocks) + "\n").encode())
    replace_file(folder / "verdicts.csv", lines.to_csv(index=False).encode())
    replace_file(folder / "atlas.tex", floating(shown.map(str), "Atlas", "tab:atlas").encode())
    replace_file(folder / "atlas.json", json.dumps(twin(frame, lines), indent=1, ensure_ascii=False).encode())
    parquet = io.BytesIO()
    frame.to_parquet(parquet, index=False)
    replace_file(folder / "atlas.parquet", parquet.getvalue())
    replace_file(folder / "atlas.html", page(shown, words, pictures, compared, absent).encode())


def table(frame: pd.DataFrame, lines: pd.DataFrame) -> pd.DataFrame:
    """The lines as text, an encoder below the other."""
    made = []
    for line in lines.to_dict("records"):
        own = frame[(frame.encoder == line["encoder"]) & (frame.property == line["property"])]
        made.append({"encoder": line["encoder"], "property": line["paper_name"], **cells(own, line)})
    return pd.DataFrame(made).fillna("")


def cells(own: pd.DataFrame, line: Mapping[str, Any]) -> dict[str, str]:
    """The numbers of a property, with a mark behind those that a test shows: *."""
    best = {(row.column, row.metric): row for row in own[(own.role == "best") & (own.status == "done")].itertuples()}
    texts: dict[str, str] = {}

    def star(column: str) -> str:
        return {"yes": " *", "no": " (no)"}.get(line.get(column, ""), "")

    scores = [row for (column, metric), row in best.items() if column == "encoded" and metric not in ("selectivity", "compression")]
    for row in scores:
        texts |= {
            "encoded": percent(row) + star("encoded"),
            "layer": str(int(row.layer)),
            "best floor": f"{row.against} {100 * row.against_value:.1f}",
        }
    if row := best.get(("encoded", "selectivity")):
        texts["selectivity"] = "" if pd.isna(row.value) else f"{percent(row)} ({100 * row.against_value:.1f})"
    if row := best.get(("encoded", "compression")):
        texts["compression"] = f"{row.value:.2f} [{row.low:.2f}, {row.high:.2f}]"
    if row := best.get(("where", "less rotated")):
        texts["where"] = percent(row) + star("where")
    if row := best.get(("used", "points lost")):
        texts["used"] = percent(row) + star("used")
    T = own[(own.column == "interacting") & (own.metric == "T")].sort_values("layer")
    if len(T):
        texts["interacting"] = f"{T.value.iloc[0]:.3g} → {T.value.iloc[-1]:.3g}" + star("interacting")
    moved = own[(own.column == "transfers") & (own.status == "done") & (own.metric != "drop")]
    if len(moved):
        texts["transfers"] = "; ".join(f"{facets(row.facets)['target']} {percent(row)}" for row in moved.itertuples()) + star(
            "transfers"
        )
    return texts


def reasons(frame: pd.DataFrame) -> list[str]:
    """Why a column has no number, each reason once with its properties."""
    lost = frame[frame.status != "done"]
    made = []
    for (encoder, column, status, reason), part in lost.groupby(["encoder", "column", "status", "reason"], sort=False):
        every = len(part) == frame[frame.encoder == encoder].property.nunique()
        of = "" if every else f" ({', '.join(part.paper_name)})"
        made.append(f"{encoder}, {column}{of}: {status}: {reason}")
    return made


def between(frame: pd.DataFrame) -> pd.DataFrame:
    """Every two encoders on the items of a property at their dev-best layers: difference in points, p after Holm, letters."""
    best = frame[(frame.column == "encoded") & (frame.role == "best")]
    best = best[best["items"].notna() & (best["items"] != "")]
    lines = []
    for _, part in best.groupby("property", sort=False):
        for a, b in combinations(part.itertuples(), 2):
            if facets(a.facets)["sha256"] == facets(b.facets)["sha256"]:
                groups = json.loads(a.groups) if isinstance(a.groups, str) else None
                p = mcnemar(unpacked(a.items, int(a.n)), unpacked(b.items, int(b.n)), groups)
                lines.append(
                    {
                        "property": a.paper_name,
                        "encoder": a.encoder,
                        "other": b.encoder,
                        "points": 100 * (a.value - b.value),
                        "p": p,
                    }
                )
    if not lines:
        return pd.DataFrame()
    made = pd.DataFrame(lines).assign(p_holm=holm([line["p"] for line in lines]))
    made["separated"] = np.where(made.p_holm <= LEVEL, "yes", "not shown")
    return made.assign(
        points=made.points.map("{:z.1f}".format), p=made.p.map("{:.3g}".format), p_holm=made.p_holm.map("{:.3g}".format)
    )


def unpacked(digits: str, n: int) -> list[bool]:
    """Whether each of n items is right, from hexadecimal digits."""
    return np.unpackbits(np.frombuffer(bytes.fromhex(digits), np.uint8))[:n].astype(bool).tolist()


def twin(frame: pd.DataFrame, lines: pd.DataFrame) -> dict[str, Any]:
    """All of the atlas as plain JSON."""
    rows = json.loads(frame.drop(columns=["items", "groups"]).to_json(orient="records"))
    for row in rows:
        row["facets"] = json.loads(row["facets"])
    own = json.loads(lines.to_json(orient="records"))
    return {"schema": SCHEMA, "lines": [{**line, "sentence": sentence(line)} for line in own], "rows": rows}


def strip(part: pd.DataFrame) -> Figure:
    """Properties × layers, the score above its best floor as a share of what is left; beneath T of every property by layer."""
    encoded = part[(part.column == "encoded") & (part.role == "layer")]
    T = part[(part.column == "interacting") & (part.metric == "T")]
    names = list(dict.fromkeys(part.paper_name))
    layers = sorted(encoded.layer.astype(int).unique())
    with matplotlib.rc_context(RC):
        height = 0.26 * len(names) + 0.9 + (1.3 if len(T) else 0)
        figure = Figure(figsize=(0.6 * len(layers) + 2.2, height), layout="constrained")
        ratios = [0.26 * len(names) + 0.3, 1.3][: 1 + (len(T) > 0)]
        panels = np.ravel(figure.subplots(len(ratios), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": ratios}))
        own = encoded.assign(layer=encoded.layer.astype(int))
        score = own.pivot_table("value", "paper_name", "layer", sort=False).reindex(index=names, columns=layers).to_numpy(float)
        floor = (
            own.pivot_table("against_value", "paper_name", "layer", sort=False).reindex(index=names, columns=layers).to_numpy(float)
        )
        p = (
            own.pivot_table("p_holm", "paper_name", "layer", sort=False, dropna=False)
            .reindex(index=names, columns=layers)
            .to_numpy(float)
        )
        gain = (score - floor) / np.clip(1 - floor, 1e-9, None)
        panels[0].imshow(gain, cmap="RdBu", vmin=-1, vmax=1, aspect="auto")
        for (i, j), value in np.ndenumerate(score):
            if not np.isnan(value):
                mark = "*" if p[i, j] <= LEVEL and value > floor[i, j] else ""
                panels[0].text(
                    j,
                    i,
                    f"{100 * value:.0f}{mark}",
                    ha="center",
                    va="center",
                    fontsize=6,
                    color="white" if abs(gain[i, j]) > 0.6 else "black",
                )
        panels[0].set_yticks(range(len(names)), names)
        panels[0].tick_params(length=0)
        panels[0].set_title("score (%), colour: above the best floor; * above every floor", fontsize=7, loc="left")
        if len(T):
            for k, (name, line) in enumerate(T.groupby("paper_name", sort=False)):
                at = [layers.index(int(layer)) for layer in line.layer]
                panels[1].plot(
                    at,
                    line.value,
                    color=PALETTE[k % len(PALETTE)],
                    ls=("-", "--", ":")[k // len(PALETTE) % 3],
                    lw=1,
                    marker="o",
                    ms=2,
                    label=name,
                )
            panels[1].set_ylabel("T")
            panels[1].legend(fontsize=5, ncols=2, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
        panels[-1].set_xticks(range(len(layers)), [str(layer) for layer in layers])
        panels[-1].set_xlabel("layer")
    return figure


def page(
    shown: pd.DataFrame,
    words: Sequence[tuple[str, list[str]]],
    pictures: Sequence[tuple[str, str]],
    compared: pd.DataFrame,
    absent: Sequence[str],
) -> str:
    """The page, without other files."""
    return PAGES.get_template("atlas.html").render(
        title="Atlas of " + ", ".join(encoder for encoder, _ in words), note=NOTE.partition("\n\n")[2].replace("\n", " "),
        table=shown, words=words, pictures=[(title, Markup(text[text.index("<svg") :])) for title, text in pictures],
        compared=compared, absent=absent,
    )  # fmt: skip
