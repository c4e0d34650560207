"""The report of minimal pairs, from the rows of one or several runs: lines of paradigms, groups and all together, by encoder and
protocol, with floors, people where they were asked, and tests.

pairs.csv     data, encoder, protocol, level (paradigm, group, all), name, n, accuracy (a tie counts as chance, 0-1) with Wilson's
              95 % interval (groups, all: of the mean over paradigms), strict (a tie is wrong), ties, identical, in_vocabulary
              (share), accuracy in vocabulary, floors, human, chance; p_floor, p_trigram, beats_…: sign-flip test against the best
              floor, and the trigram, of paradigms with Holm over them, of all of the mean over paradigms
facets.csv    the same by attractors, distance, and so on
pairs.html    the items with the largest and smallest differences, token by token
compare.csv   encoders on the same items, by paradigm and in the mean over them: difference, p of the sign-flip test of that
              difference (of a paradigm without ties McNemar's exact test), Holm
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from probing import paths
from probing.behaviour.counting import FLOORS
from probing.evaluation.paired_tests import holm, sign_flip_mean
from probing.evaluation.statistics import mean_of_accuracies, wilson
from probing.files import replace_file
from probing.log import human_count
from probing.report.behaviour_figures import figures
from probing.report.markdown import md_table
from probing.report.strips import of_items
from probing.types import Estimate

LINE = ["data", "encoder", "protocol"]
HUMAN = "blimp2020_paradigms.csv"
ALPHA = 0.05
NOTE = """# Minimal pairs

Accuracy (%): share of items whose right text has the higher score; a tie of t texts counts 1/t, of a pair half. [95 % interval:
Wilson's, of a mean over paradigms from their variances]. strict: a tie is wrong, as in published BLiMP scores. in vocabulary: share
of items whose words the model knows all, and accuracy on them. unigram, trigram: n-grams of the text that the run names, whose
scores are sums of log p in all cases; shorter: the text of fewer bytes wins; random: the same architecture with random weights,
scored as the model is. beats floor, beats trigram: paired sign-flip test at 0.05 of the difference that is shown, to the best floor
and to the trigram; of paradigms with Holm over them, else of the mean over paradigms."""


def write(frame: pd.DataFrame, folder: Path) -> None:
    """Writes all files of the report."""
    lines, facets, compared = pairs(frame), by_facets(frame), comparisons(frame)
    files: dict[str, str] = {"pairs.csv": lines.to_csv(index=False), "facets.csv": facets.to_csv(index=False)}
    files["compare.csv"] = compared.to_csv(index=False)
    files["table.md"] = "\n\n".join(blocks(frame, lines, facets, compared)) + "\n"
    files |= {f"figure-{name}.svg": text for name, text in figures(lines, facets)}
    if "strip" in frame and frame["strip"].notna().any():
        files["pairs.html"] = of_items(frame)
    for name, text in files.items():
        replace_file(folder / name, text.encode())


def pairs(frame: pd.DataFrame) -> pd.DataFrame:
    """The lines of pairs.csv."""
    people = _people() if (frame.kind == "Blimp").any() else {}
    lines = []
    for key, part in frame.groupby(LINE, sort=False):
        about = dict(zip(LINE, key, strict=True))
        own = [about | {"level": "paradigm", "name": name} | numbers(rows) for name, rows in part.groupby("paradigm", sort=False)]
        for line, (_, rows) in zip(own, part.groupby("paradigm", sort=False), strict=True):
            line |= _against_floor(rows, line)
            line["human"] = people.get(line["name"], np.nan) if part.kind.iloc[0] == "Blimp" else np.nan
        for name in ("floor", "trigram"):
            tested = [line for line in own if not np.isnan(line[f"p_{name}"])]
            for line, p in zip(tested, holm([line[f"p_{name}"] for line in tested]), strict=True):
                line[f"p_{name}"] = float(p)
                line[f"beats_{name}"] = bool(p < ALPHA and line[f"beats_{name}"])
        lines += own
        group_of = dict(zip(part.paradigm, part.group, strict=True))
        for group in dict.fromkeys(part.group):
            inner = [line for line in own if group_of[line["name"]] == group]
            lines.append(about | {"level": "group", "name": group} | _mean(inner))
        lines.append(about | {"level": "all", "name": "mean of paradigms"} | _mean(own) | _against_floor(part, _mean(own)))
    return pd.DataFrame(lines)


def numbers(rows: pd.DataFrame) -> dict[str, Any]:
    """Accuracy, counts and floors of some items; those without a score are counted and left out."""
    scored = rows[rows.credit.notna()]
    n = len(scored)
    x = wilson(float(scored.credit.sum()), n) if n else Estimate(np.nan, np.nan, np.nan)
    known = scored[scored.in_vocabulary]
    line: dict[str, Any] = {
        "n": n,
        "accuracy": x.value,
        "low": x.lower,
        "high": x.upper,
        "strict": float((scored.credit == 1).mean()),
    }
    line |= {"ties": int(((scored.credit > 0) & (scored.credit < 1)).sum()), "identical": int(scored.identical.sum())}
    line |= {
        "in_vocabulary": len(known) / n if n else np.nan,
        "accuracy_in_vocabulary": known.credit.mean() if len(known) else np.nan,
    }
    line |= {"unscored": len(rows) - n, "chance": float(rows.chance.mean())}
    return line | {name: float(scored[name].mean()) for name in FLOORS}


def _mean(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """The unweighted mean over paradigms, with an interval from theirs; counts are sums."""
    some = [line for line in lines if line["n"]]
    sizes = np.array([line["n"] for line in some])
    correct = sizes * [line["accuracy"] for line in some]
    x = mean_of_accuracies(correct, sizes) if some else Estimate(np.nan, np.nan, np.nan)
    total: dict[str, Any] = {"n": sum(line["n"] for line in lines), "accuracy": x.value, "low": x.lower, "high": x.upper}
    total |= {name: sum(line[name] for line in lines) for name in ("ties", "identical", "unscored")}
    means = ("strict", "in_vocabulary", "accuracy_in_vocabulary", "chance", *FLOORS, "human")
    return total | {name: float(pd.Series([line.get(name, np.nan) for line in some], dtype=float).mean()) for name in means}


def _against_floor(rows: pd.DataFrame, line: dict[str, Any]) -> dict[str, Any]:
    """The best floor, and the p-values of the paired tests against it and against the trigram, of the mean over paradigms."""
    have = {name: line[name] for name in FLOORS if not np.isnan(line[name])}
    scored = rows[rows.credit.notna()]
    best = max(have, key=lambda name: have[name]) if have and len(scored) else ""
    verdict: dict[str, Any] = {"floor": best}
    for name, floor in (("floor", best), ("trigram", "trigram" if "trigram" in have else "")):
        both = scored[scored[floor].notna()] if floor else scored[:0]
        more, p = sign_flip_mean(both.credit - both[floor], both.paradigm) if len(both) else (np.nan, np.nan)
        verdict |= {f"p_{name}": p, f"beats_{name}": bool(p < ALPHA and more > 0 and line["accuracy"] > have[floor])}
    return verdict


def by_facets(frame: pd.DataFrame) -> pd.DataFrame:
    """The lines of facets.csv: each value of each facet, by data, encoder and protocol."""
    lines = []
    for key, part in frame.groupby(LINE, sort=False):
        for facet in [name for name in part if str(name).startswith("facet ") and part[name].notna().any()]:
            of = part[facet]
            for value in sorted(of.dropna().unique(), key=_place):
                lines.append(
                    dict(zip(LINE, key, strict=True))
                    | {"facet": facet.removeprefix("facet "), "value": value}
                    | numbers(part[of == value])
                )
    return pd.DataFrame(lines)


def _place(value: Any) -> tuple[float, str]:
    """Numbers by size, bins by their lower end, then names."""
    digits = str(value).partition("-")[0].rstrip("+").lstrip(">")
    try:
        return float(digits), ""
    except ValueError:
        return np.inf, str(value)


def comparisons(frame: pd.DataFrame) -> pd.DataFrame:
    """Encoders in pairs on the same items under the same kind of protocol, by paradigm and in the mean over them; Holm over the
    lines of a level."""
    lines = []
    for data, part in frame.groupby("data", sort=False):
        columns = part.groupby(["encoder", "protocol"], sort=False)
        own = {key: (rows.direction.iloc[0], rows.set_index("item")) for key, rows in columns}
        for (a, one), (b, other) in combinations(own.items(), 2):
            directions = {one[0], other[0]}
            if a[0] == b[0] or not (len(directions) == 1 or directions == {"forward", "all"}):
                continue
            both = one[1].merge(other[1][["credit", "paradigm"]], left_index=True, right_index=True, suffixes=("", "_b"))
            both = both[both.credit.notna() & both.credit_b.notna() & (both.paradigm == both.paradigm_b)]
            about = {"data": data, "a": a[0], "b": b[0], "protocol_a": a[1], "protocol_b": b[1]}
            levels = [
                ("all", "mean of paradigms", both),
                *(("paradigm", name, rows) for name, rows in both.groupby("paradigm", sort=False)),
            ]
            for level, name, rows in levels:
                d, p = sign_flip_mean(rows.credit - rows.credit_b, rows.paradigm)
                means = rows.groupby("paradigm")[["credit", "credit_b"]].mean().mean()
                line = about | {"level": level, "name": name, "n": len(rows), "accuracy_a": means.credit}
                lines.append(line | {"accuracy_b": means.credit_b, "difference": d, "p": p})
    table = pd.DataFrame(lines)
    if len(table):
        table["p_holm"] = table.groupby(["data", "level"]).p.transform(holm)
        table["differs"] = np.where(table.protocol_a == table.protocol_b, "", "protocol")
    return table


def blocks(frame: pd.DataFrame, lines: pd.DataFrame, facets: pd.DataFrame, compared: pd.DataFrame) -> Iterator[str]:
    """The parts of table.md."""
    yield NOTE
    for data, part in lines.groupby("data", sort=False):
        own = frame[frame.data == data]
        yield f"## {data}"
        yield from _counts(own)
        yield _table(part[part.level == "all"], "encoder protocol")
        if (own.kind == "Blimp").any():
            yield _published()
        groups, paradigms = (part[part.level == level].sort_values("name", kind="stable") for level in ("group", "paradigm"))
        if groups.name.nunique() > 1:
            yield from (f"### {data}: means over the paradigms of a group", _table(groups, "name encoder protocol"))
        for name, rows in facets[facets.data == data].groupby("facet", sort=False) if len(facets) else ():
            if rows.value.nunique() > 1:
                yield from (f"### {data} by {name}", _table(rows, "encoder protocol value"))
        if len(compared) and len(some := compared[(compared.data == data) & (compared.level == "all")]):
            yield from (f"### {data}: encoders on the same items", md_table(pd.DataFrame(map(_pair, some.to_dict("records")))))
        if paradigms.name.nunique() > 1:
            yield from (f"### {data}: paradigms", _table(paradigms, "name encoder protocol"))


def _table(lines: pd.DataFrame, names: str) -> str:
    return md_table(pd.DataFrame([_shown(line, tuple(names.split())) for line in lines.to_dict("records")]).fillna(""))


def _pair(x: dict[str, Any]) -> dict[str, Any]:
    """A line of the table of comparisons."""
    cells = {"a": x["a"], "b": x["b"], "protocol": x["protocol_a"], "n": x["n"], "a - b (points)": f"{100 * x['difference']:+.1f}"}
    return cells | {"p (Holm)": f"{x['p_holm']:.2g}", "differs": x["differs"]}


def _counts(frame: pd.DataFrame) -> Iterator[str]:
    """What a reader must know of the items, and for which encoders and protocols."""
    notes: dict[str, list[str]] = {}
    lines = list(frame.groupby(["encoder", "protocol"], sort=False))
    for (encoder, protocol), rows in lines:
        facts = [
            f"not scored: {human_count(n, 'item')}, {why}" for why, n in rows.unscored[rows.unscored != ""].value_counts().items()
        ]
        facts += [f"a token at an end of {human_count(int(rows.lost.sum()), 'item')} is not scored, as nothing predicts it"] * bool(
            rows.lost.any()
        )
        same = int(rows.identical.sum())
        facts += [
            f"{human_count(same, 'item')} {'is' if same == 1 else 'are'} one text for the model, and tie{'s' * (same == 1)}"
        ] * (same > 0)
        facts += ["both is the sum of two directions, which is no log-probability"] * protocol.startswith("both")
        for fact in facts:
            notes.setdefault(fact, []).append(f"{encoder}, {protocol.partition(',')[0]}")
    where = {fact: "" if len(who) == len(lines) else f" ({'; '.join(who)})" for fact, who in notes.items()}
    if notes:
        yield "\n".join(f"- {fact}{where[fact]}." for fact in notes)


def _shown(line: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """A line of the tables, in percent."""
    cells = {name: line[name] for name in names}
    cells["n"] = line["n"]
    cells["accuracy"] = f"{100 * line['accuracy']:.1f} [{100 * line['low']:.1f}, {100 * line['high']:.1f}]" if line["n"] else "-"
    cells |= {"strict": _percent(line["strict"]), "ties": line["ties"], "in vocabulary": _percent(line["in_vocabulary"])}
    cells["accuracy there"] = _percent(line["accuracy_in_vocabulary"])
    cells |= {name: _percent(line[name]) for name in (*FLOORS, *(["human"] if not np.isnan(line.get("human", np.nan)) else []))}
    for name, floor in (("floor", line.get("floor")), ("trigram", "trigram")):
        if isinstance(floor, str) and floor and not np.isnan(p := line.get(f"p_{name}", np.nan)):
            cells[f"beats {name}"] = ("yes" if line[f"beats_{name}"] else "no") + f" ({floor}, p {p:.1g})"
    return cells


def _percent(x: float) -> str:
    return "" if np.isnan(x) else f"{100 * x:.1f}"


def _blimp2020() -> pd.DataFrame:
    """The published values on BLiMP, `value` 0-1."""
    return pd.read_csv(paths.PUBLISHED / HUMAN)


def _people() -> dict[str, float]:
    """Accuracy of single people on each paradigm of BLiMP (raw agreement, not the majority of five)."""
    frame = _blimp2020()
    own = frame[frame.table == "human_validation_summary"]
    return dict(zip(own.task, own.value.astype(float), strict=True))


def _published() -> str:
    """The published accuracies over all paradigms, one line."""
    frame = _blimp2020()
    rows = frame[frame.task == "phenomenon: overall"]
    overall = ", ".join(f"{x.encoder} {100 * float(x.value):.1f}" for x in rows.itertuples())
    return f"Published (Warstadt et al. 2020; a tie is wrong; {rows.status.iloc[0]}): {overall}."
