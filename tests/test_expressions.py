"""Formulas against Python's own arithmetic, families against their recipes, truth against the exact optimum, files, scoring."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from probing.data.expressions import FAMILIES, Expression, generate, parse, random_segment, read, write
from probing.errors import ConfigError, DataError
from probing.interactions import segment_interaction
from probing.interactions.game import all_coalitions
from probing.interactions.partition import best_partition, links
from probing.interactions.scoring import METHODS, FoundLinks, count, find_links, pooled

TIED = [name for name in FAMILIES if FAMILIES[name].ties and not FAMILIES[name].noise]


def by_python(text, n):
    """All 2^n values by Python's arithmetic, which has the precedence and, for 0 ** 0 = 1, the convention that we claim."""
    rows = [{f"x{i + 1}": s >> i & 1 for i in range(n)} for s in range(2**n)]
    return np.array([eval(text, {"__builtins__": {}}, row) for row in rows], float)


@pytest.mark.parametrize("family", FAMILIES)
def test_formulas_have_pythons_values(family):
    for e in generate(family, 20, variables=(2, 8), noise=0):
        assert e(all_coalitions(e.n_players)) == pytest.approx(by_python(e.text, e.n_players), abs=1e-12), e.text


@settings(deadline=None, max_examples=80)
@given(st.lists(st.tuples(st.sampled_from(["+", "-", "*", "**"]), st.sampled_from(["x1", "x2", "x3", "2", "0.5"])), max_size=8))
def test_precedence_is_pythons(steps):
    assume(sum(operator == "**" for operator, _ in steps) <= 3)  # a tower of five overflows in Python, too
    text = "x1 + x2 - x3 * " + " ".join(["x1", *(word for step in steps for word in step)])
    assert Expression("own", text, ())(all_coalitions(3)) == pytest.approx(by_python(text, 3), rel=1e-12, abs=1e-12)
    text = "- " + text
    assert Expression("own", text, ())(all_coalitions(3)) == pytest.approx(by_python(text, 3), rel=1e-12, abs=1e-12)


@given(st.lists(st.sampled_from("&|"), max_size=7))
def test_logic_is_pythons(operators):
    text = "x1 & x2 | x3 " + " ".join(f"{operator} x{i % 3 + 1}" for i, operator in enumerate(operators))
    assert np.array_equal(Expression("own", text, ())(all_coalitions(3)), by_python(text, 3))


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "the formula ends where a variable or number must be"),
        ("x1 +", "the formula ends where a variable or number must be"),
        ("x1 x2", "token 2, 'x2', is where an operator must be"),
        ("x1 + * x2", r"token 3, '\*', is where a variable or number must be"),
        ("+ x1", r"token 1, '\+', is where a variable or number must be"),
        ("- - x1", "token 2, '-', is where a variable or number must be"),
        ("x1 / x2", "token 2, '/', is where an operator must be"),
        ("x1 + __import__('os')", "is no variable .*, number .* or operator"),
        ("x1 + x3", "variables are x1, x2, .. without a gap; missing: x2"),
        ("1 + 2", "missing: x1"),
        ("x0 + x1", "token 1, 'x0', is no variable"),
        ("x1 + x65", "at most 64 variables"),
        ("x1 & x2 + x3", "& and | do not mix"),
        ("x1 | 0", "& and | do not mix"),
        ("x1 + x²", "is no variable"),
        ("x1 + 1e999", "is no variable"),
    ],
)
def test_what_is_no_formula(text, message):
    with pytest.raises(DataError, match=message):
        parse(text)


def test_long_formulas_need_no_recursion():
    text = " ** ".join(["x1"] * 5001)
    assert Expression("own", text, ())(all_coalitions(1)).tolist() == [0.0, 1.0]  # 0 ** 0 = 1, 0 ** 1 = 0, and so on


@pytest.mark.parametrize(
    "change, message",
    [
        ({"groups": ((1, (1, 0)),)}, "is not a sign and two or more of 3 variables"),
        ({"groups": ((1, (1, 3)),)}, "is not a sign and two or more of 3 variables"),
        ({"groups": ((2, (0, 1)),)}, "is not a sign and two or more of 3 variables"),
        ({"groups": ((1, (0,)),)}, "is not a sign and two or more of 3 variables"),
        ({"groups": ((1, (0, 2)), (-1, (1, 2)))}, "groups of opposite signs reach into each other"),
        ({"noise": -1.0}, "noise=-1.0"),
    ],
)
def test_what_is_no_expression(change, message):
    with pytest.raises(DataError, match=message):
        Expression(**{"family": "own", "text": "x1 * x2 + x3", "groups": ((1, (0, 1)),)} | change)


def test_the_recipes_of_the_paper_families():
    seen = {"add_multiply": set(), "and_or": set(), "exponential": set()}
    bound = {"add_multiply": {"*"}, "and_or": {"&"}, "exponential": {"*", "**"}}
    for family, follows in seen.items():
        for e in generate(family, 300):
            assert 5 <= e.n_players <= 7 and e.tokens[::2] == [f"x{i + 1}" for i in range(e.n_players)]
            operators = e.tokens[1::2]
            follows |= set(zip(["start", *operators], operators, strict=False))
            truth = e.truth((0, e.n_players))
            assert truth.max.tolist() == [operator in bound[family] for operator in operators] and e.sides == ("max",)
            assert truth.max_free.tolist() == [operator == "+" for operator in operators]
    assert len(seen["add_multiply"]) == len(seen["and_or"]) == 6
    after = {before: {b for a, b in seen["exponential"] if a == before} for before in ("start", "+", "*", "**")}
    assert after == {"start": {"**", "*", "+"}, "+": {"**", "*", "+"}, "*": {"*", "+"}, "**": {"+"}}


def test_options_of_families():
    assert all(set(e.tokens[1::2]) == {"*"} for e in generate("add_multiply", 5, operators=["*"]))
    often = np.mean(
        [e.tokens[1::2].count("+") / (e.n_players - 1) for e in generate("add_multiply", 300, operators=["*", "+", "+"])]
    )
    assert often == pytest.approx(2 / 3, abs=0.05)
    assert {e.n_players for e in generate("noisy", 100, variables=(8, 12))} == set(range(8, 13))
    for family in FAMILIES:
        assert generate(family, 5) == generate(family, 20)[:5] != generate(family, 5, seed=1)
    for words, message in [
        ({"family": "and_orr"}, "no family 'and_orr'; did you mean 'and_or'"),
        ({"family": "and_or", "operators": ["+"]}, r"operators=\['\+'\] of and_or: allowed are & \|"),
        ({"family": "noisy", "operators": ["+"]}, "allowed are none to choose"),
        ({"family": "and_or", "operators": []}, "allowed are"),
        ({"family": "exponential", "operators": ["**"]}, r"\+ must be one"),
        ({"family": "and_or", "variables": (7, 5)}, "2 <= fewest <= most <= 64"),
        ({"family": "and_or", "variables": (5, 65)}, "2 <= fewest <= most <= 64"),
        ({"family": "and_or", "count": 0}, "at least one expression"),
    ]:
        with pytest.raises(ConfigError, match=message):
            generate(**words)


def tied_links(phi, sign):
    """Links that one optimal partition cuts and another keeps, (m - 1,)."""
    kept = np.array([links(partition) for partition in best_partition(phi, sign, listed=2 ** len(phi)).all])
    return kept.any(0) & ~kept.all(0)


@pytest.mark.parametrize("family", TIED + ["and_or"])
def test_truth_and_free_links_are_those_of_the_exact_optimum(family):
    """For whole formulas and segments that cut groups: the finest optimum, and the links on which optima differ."""
    for i, e in enumerate(generate(family, 40, variables=(4, 9), seed=7)):
        for segment in ((0, e.n_players), random_segment(e.n_players, np.random.default_rng(i))):
            r, truth = segment_interaction(e, segment, listed=1), e.truth(segment)
            for side, sign in (("max", 1), ("min", -1)):
                if side in e.sides:
                    assert np.array_equal(links(getattr(r, f"{side}_partition")), getattr(truth, side)), (e, segment, side)
                    assert np.array_equal(tied_links(r.phi, sign), getattr(truth, f"{side}_free")), (e, segment, side)


def test_harder_families_are_what_they_say():
    signs = {sign for e in generate("signed_products", 50) for sign, _ in e.groups}
    assert signs == {1, -1} and any(FAMILIES[name].sides == ("max", "min") for name in FAMILIES)
    shared = [set(a) & set(b) for e in generate("overlapping", 50) for (_, a), (_, b) in zip(e.groups, e.groups[1:], strict=False)]
    assert any(shared)
    gaps = [players for e in generate("nonadjacent", 50, (8, 12)) for _, players in e.groups]
    assert gaps and all(np.diff(players).max() > 1 for players in gaps)
    assert not any(e.groups for name in ("null_additive", "null_noisy") for e in generate(name, 10))


def test_noise_belongs_to_the_coalition():
    [e] = generate("null_noisy", 1, (12, 12), noise=0.5)
    rows = all_coalitions(12)
    clean = Expression(e.family, e.text, e.groups)(rows)
    noise = (e(rows) - clean) / 0.5
    assert np.array_equal(e(rows[::-1]), e(rows)[::-1]) and np.array_equal(e(rows[5:9]), e(rows)[5:9])
    assert abs(noise.mean()) < 5 / 64 and noise.std() == pytest.approx(1, abs=5 / 90) and abs(noise).max() < 6
    table = noise.reshape((2,) * 12)
    assert max(abs(np.corrcoef(np.take(table, 0, i).ravel(), np.take(table, 1, i).ravel())[0, 1]) for i in range(12)) < 5 / 45
    other = Expression(e.family, e.text, e.groups, noise=0.5, seed=e.seed + 1)(rows) - clean
    assert abs(np.corrcoef(noise, other)[0, 1]) < 5 / 64


def test_files_keep_every_expression(tmp_path):
    wanted = [e for family in FAMILIES for e in generate(family, 5)]
    write(tmp_path / "all.txt", wanted)
    assert read(tmp_path / "all.txt") == wanted


@pytest.mark.parametrize(
    "line, message",
    [
        ("own\tx1 + x2", "2 column"),
        ("own\tx1 + \t\ttie\tmax\t0.0\t0", "ends where"),
        ("own\tx1 * x2\tx1,x2\ttie\tmax\t0.0\t0", "each is a sign and variables"),
        ("own\tx1 * x2\t+x1,x9\ttie\tmax\t0.0\t0", "two or more of 2 variables"),
        ("own\tx1 * x2\t+x1,1\ttie\tmax\t0.0\t0", "each is a sign and variables"),
        ("own\tx1 * x2\t+x1,x2\tties\tmax\t0.0\t0", "ties='ties'"),
        ("own\tx1 * x2\t+x1,x2\ttie\tmax\tmuch\t0", "could not convert"),
        ("own\tx1 * x2\t+x1,x2\ttie\tmax\tnan\t0", "noise=nan"),
        ("own\tx1 * x2\t+x1,x2\ttie\tmax\t0.0\t-1", "seed=-1"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    write(tmp_path / "a.txt", generate("and_or", 2))
    with (tmp_path / "a.txt").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(DataError, match=f"a.txt:3: .*({message})"):
        read(tmp_path / "a.txt")
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path / "b.txt")


GOOD = Expression("own", "3 * x1 * x2 + x3 - 2 * x4 * x5 + x6", ((1, (0, 1)), (-1, (3, 4))), sides=("max", "min"))
HIDDEN = Expression("own", "x1 * x3 + x2 - x4 * x6 + x5", ((1, (0, 2)), (-1, (3, 5))), sides=("max", "min"))


def scores(method, expressions, free, **words):
    found = [count(find_links(e, (0, e.n_players), method, **words), e.truth((0, e.n_players)), e.sides, free) for e in expressions]
    return pooled(np.array(found))


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"random"}))
def test_each_method_finds_clear_pairs(method):
    """Positive control, both signs: every link that is not an exact tie is right; no method calls all links bound or none."""
    assert scores(method, [GOOD], free=False)["accuracy"].value == 1.0
    found = find_links(GOOD, (0, 6), method)
    assert found.max[0] and not found.max[3] and found.min[3] and not found.min[0] and found.rows > 0


@pytest.mark.parametrize("method", sorted(METHODS))
def test_each_method_fails_where_it_must(method):
    """Negative control: methods of pairs see nothing between variables that are no neighbours; a wrong truth scores low."""
    blind = {"pairwise_sii", "pair_dividend", "greedy"}
    recall = scores(method, [HIDDEN], free=False)["recall"].value
    assert recall == 0 if method in blind else recall > (-1 if method == "random" else 0.99)
    swapped = Expression("own", GOOD.text, tuple((-sign, players) for sign, players in GOOD.groups), sides=GOOD.sides)
    assert method == "random" or scores(method, [swapped], free=True)["f1"].value < 0.4
    assert method == "random" or scores(method, [GOOD], free=True)["recall"].value == 1.0


def test_tossing_coins_is_right_half_the_time():
    es = generate("and_or", 300)
    found = [count(find_links(e, (0, e.n_players), "random", seed=i), e.truth((0, e.n_players))) for i, e in enumerate(es)]
    score = pooled(np.array(found))
    assert score["accuracy"].lower < 0.5 < score["accuracy"].upper and score["accuracy"].upper - score["accuracy"].lower < 0.06


def test_rows_are_what_methods_cost():
    [e] = generate("signed_products", 1, (10, 10))
    rows = {
        method: find_links(e, (3, 7), method, budget=None).rows for method in ("exact", "greedy", "pairwise_sii", "pair_dividend")
    }
    assert rows == {"exact": 704, "greedy": 704, "pairwise_sii": 1024, "pair_dividend": 8}
    assert find_links(e, (3, 7), "random").rows == 0 and find_links(e, (3, 7), "sampled", budget=300).rows == 286
    with pytest.raises(ConfigError, match="no method 'exactly'; did you mean 'exact'"):
        find_links(e, (3, 7), "exactly")


def test_scores_by_hand():
    """Two expressions: links 1 1 0 0 called 1 0 1 0 with the last free, and one link right: 3 of 5, or 3 of 4 ..."""
    truth = Expression("own", "x1 * x2 * x3 + x4 + x5", ((1, (0, 1, 2)),)).truth((0, 5))
    assert truth.max.tolist() == [True, True, False, False] and truth.max_free.tolist() == [False, False, True, True]
    found = FoundLinks(np.array([True, False, True, False]), np.zeros(4, bool), 1)
    everything, fixed = count(found, truth, ("max",)), count(found, truth, ("max",), free=False)
    assert everything.tolist() == [1, 1, 1, 1] and fixed.tolist() == [1, 0, 1, 0]
    both = pooled(np.array([everything, [1, 0, 0, 0]]))
    assert {name: both[name].value for name in both} == pytest.approx(
        {
            "accuracy": 3 / 5,
            "accuracy_on_1_links": 2 / 3,
            "accuracy_on_0_links": 1 / 2,
            "precision": 2 / 3,
            "recall": 2 / 3,
            "f1": 2 / 3,
        }
    )
    assert both["accuracy"].lower <= 3 / 5 <= both["accuracy"].upper
    assert np.isnan(pooled(np.array([[0, 0, 0, 3.0]]))["recall"].value)
