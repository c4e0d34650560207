"""Every case of the reference file on codes, V-information, mixes of layers and bounded probes."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from probing.probes.bounded import Bounded, normalised
from probing.probes.codes import bits, information, variational
from probing.probes.codes.online import online_code
from probing.probes.codes.solver import Examples, sklearn_log_probabilities
from probing.probes.mix import ExpectedLayer, Mix, running_max

pytestmark = pytest.mark.shared
PLACE = Path(os.environ.get("PROBING_SHARED", "")) / "oracles" / "probes.json"
FILE = json.loads(PLACE.read_text()) if os.environ.get("PROBING_SHARED") and PLACE.is_file() else {}


def cases(group):
    return pytest.mark.parametrize("case", [pytest.param(one, id=one["name"]) for one in FILE.get(group, {"cases": []})["cases"]])


def same(own, expected, tolerance=1e-6):
    """Compares numbers, lists and dicts; null is NaN, "inf" infinite."""
    if isinstance(expected, dict):
        for name, value in expected.items():
            same(own[name], value, tolerance)
        return
    if isinstance(expected, bool):
        assert own == expected
        return
    wanted = np.array(expected, dtype=object)
    numbers = np.vectorize(lambda v: np.nan if v is None else float(v), otypes=[float])(wanted)
    np.testing.assert_allclose(np.asarray(own, float), numbers, rtol=tolerance, atol=tolerance)


def of(code):
    return {
        "uniform_bits": code.uniform, "block_bits": code.blocks, "online_bits": code.bits, "compression": code.compression,
        "legacy_mixed_units": code.legacy_mixed, "legacy_compression": code.legacy_compression,
    }  # fmt: skip


def counting(given):
    """A probe that counts, of all labels or of those of the same word."""
    labels, K = np.array(given["labels"]), given["K"]
    words = np.array(given["words"]) if "by_type" in given["probe"] else np.zeros(len(labels), int)

    def block(a, b):
        p = []
        for i in range(a, b):
            earlier = labels[:a][words[:a] == words[i]]
            p.append(((earlier == labels[i]).sum() + 1) / (len(earlier) + K))
        return -np.log2(p)

    return block


@cases("online_code")
def test_online_codes(case):
    given, expected = case["given"], dict(case["expected"])
    if "tokens_in_sentence" in given:
        ends = bits.item_ends(given["tokens_in_sentence"], given["sentence_ends"])
        code = bits.code_of(np.ones(ends[-1] - ends[0]), ends, given["K"])
        own = {"token_ends": ends, "first_block_bits": code.blocks[0], "uniform_bits": code.uniform}
        same(own, expected)
    elif "true_probabilities" in given:
        same(of(bits.code_of(given["true_probabilities"], given["ends"], given["K"])), expected)
    else:
        same(of(online_code(given["K"], bits.kept_ends(given["ends"]), counting(given))), expected)


@cases("online_fractions")
def test_online_fractions(case):
    n = case["given"]["n"]
    ends, (first, never) = bits.block_ends(n), bits.holmes_steps(n)
    own = {"voita_ends": ends, "voita_first_block_empty": bool(ends[0] == 0), "holmes_first": first, "holmes_never_coded": never}
    same(own, case["expected"])
    assert bits.kept_ends(ends)[0] > 0 and len(set(bits.kept_ends(ends).tolist())) == len(bits.kept_ends(ends))


@cases("published_codes")
def test_published_codes(case):
    given = case["given"]
    same(
        bits.published_in_bits(given["targets"], given["first_block_targets"], given["K"], given["printed_kbits"]),
        case["expected"],
        1e-8,
    )


@cases("softmax_twice")
def test_softmax_twice(case):
    given, K = case["given"], case["given"]["K"]
    floor = bits.softmax_twice_floor(K)
    own = {"floor_nats": floor, "compression_bound_legacy": np.log2(K) / floor}
    if "logits" in given:
        own["once_nats"], own["twice_nats"] = bits.softmax_losses(given["logits"], np.array(given["labels"]))
    same(own, case["expected"])


@cases("logistic_code")
def test_logistic_codes_by_scikit_learn_and_by_our_solver(case):
    given, expected = case["given"], case["expected"]
    x, labels, ends, K, C = np.array(given["x"]), np.array(given["labels"]), given["ends"], given["K"], given["C"]

    def code(C):
        probabilities = []
        for a, b in zip(ends, ends[1:], strict=False):
            logs = sklearn_log_probabilities(x[:a], labels[:a], x[a:b], C, K)
            probabilities += np.exp(logs[np.arange(b - a), labels[a:b]]).tolist()
        return bits.code_of(probabilities, ends, K), probabilities

    own, probabilities = code(C)
    same(of(own), {name: value for name, value in expected.items() if name in of(own)}, 1e-4)
    same(probabilities, expected["true_probabilities"], 1e-5)
    if "softmax_form_bits" in expected:
        same(code(2 * C)[0].bits, expected["softmax_form_bits"], 1e-4)

    from probing.probes.logistic import Design

    examples = Examples.of(Design.prepare(x.astype(np.float32), standardize=False), K)
    fast = []
    for a, b in zip(ends, ends[1:], strict=False):
        fit = examples.span(0, a).fit(labels[:a], C, loose=False)
        fast += np.exp(examples.span(a, b).log_probabilities(fit)[np.arange(b - a), labels[a:b]]).tolist()
    same(fast, expected["true_probabilities"], 5e-3)
    same(bits.code_of(fast, ends, K).bits, expected["online_bits"], 1e-3)


@cases("gaussian_kl")
def test_gaussian_kl(case):
    mu, s = (torch.tensor(case["given"][name], dtype=torch.float64) for name in ("mu", "s"))
    nats = float(variational.gaussian_kl(mu, 2 * s.log()))
    same({"nats": nats, "bits": nats / np.log(2)}, case["expected"])


@cases("variational_code")
def test_variational_codes(case):
    given, expected = case["given"], dict(case["expected"])
    names = ("z_mu", "z_logvar", "W_mu", "W_logvar", "b_mu", "b_logvar")
    layers = [variational.Layer(*(torch.tensor(one[name], dtype=torch.float64) for name in names)) for one in given["layers"]]
    x, labels, K = np.array(given["x"]), np.array(given["labels"]), given["K"]
    noise = [[tuple(torch.tensor(part, dtype=torch.float64) for part in layer) for layer in draw] for draw in given["noise"]]
    result = variational.code_of(layers, x, labels, K, noise)
    kls = [layer.kl() for layer in layers]
    own = {
        "log_alpha": [layer.log_alpha.tolist() for layer in layers],
        **{name: float(sum(kl[k] for kl in kls)) for k, name in enumerate(("kl_z_nats", "kl_W_nats", "kl_b_nats"))},
        "kl_bits": result.kl / np.log(2), "plug_in_nats": result.plug_in, "draws_nats": result.draws,
        "expected_nats_by_draws": result.draws.mean(), "uniform_bits": result.uniform, "code_bits_by_draws": result.bits,
        "compression_by_draws": result.compression, "legacy_total_nats": result.legacy_total,
        "legacy_compression_mixed_units": result.uniform / result.legacy_total,
    }  # fmt: skip
    mean, error = expected.pop("expected_nats_3000_draws")
    same(own, expected)
    many = variational.code_of(layers, x, labels, K, 3000).draws
    assert abs(many.mean() - mean) < 5 * np.hypot(error, many.std() / np.sqrt(len(many)))


@cases("v_information")
def test_v_information(case):
    given = case["given"]
    labels, counts = np.array(given["labels"]), np.array(given["train_counts"])
    null = information.null_probabilities(counts)
    of_null, of_probe, of_baseline = (
        information.surprisal(p, labels) for p in (null, given["probabilities"], given["baseline_probabilities"])
    )
    pointwise = of_null - of_probe
    test_entropy, value = information.entropy(labels, len(counts)), pointwise.mean()
    own = {
        "null": null, "H_null": of_null.mean(), "H_probe": of_probe.mean(), "v_information": value, "pointwise": pointwise,
        "test_entropy": test_entropy, "v_information_with_test_entropy_trap": test_entropy - of_probe.mean(),
        "nats_trap": value * np.log(2), "share_of_H": value / of_null.mean(),
        "conditional_beyond_baseline": (of_baseline - of_probe).mean(),
        "gain_over_control_pimentel": (of_baseline - of_probe).mean(), "se_naive": pointwise.std(ddof=1) / np.sqrt(len(labels)),
    }  # fmt: skip
    same(own, case["expected"])


@cases("scalar_mix")
def test_scalar_mix(case):
    given = case["given"]
    mix = Mix(np.array([np.nan if w is None else w for w in given["w"]]))
    own = {"s": mix.shares, "mix": mix.of([np.array(h) for h in given["h"]], given["gamma"]), "centre": mix.centre}
    same(own | {"centre_from_1": mix.centre_from_1, "kl_uniform_bits": mix.kl_uniform}, case["expected"])


@cases("expected_layer")
def test_expected_layer(case):
    scores = np.array(case["given"]["scores"])
    layer = ExpectedLayer.of(scores)
    own = {"delta": layer.gains, "expected": layer.value, "inside": layer.inside, "running_max": running_max(scores).value}
    same(own | {"kl_bits": layer.kl_uniform, "headroom": scores.max() - scores[0]}, case["expected"])


@cases("pareto")
def test_pareto(case):
    given = case["given"]
    W, b, labels = np.array(given["W"]), np.array(given["b"]), np.array(given["labels"])
    probe, x = Bounded(W, b), normalised(given["x"])
    bits_ = probe.bits(x, labels).mean()
    own = {
        "singular_values": probe.singular_values, "nuclear_norm": probe.nuclear_norm, "rank": probe.rank, "bits": bits_,
        "nuclear_norm_without_bias": np.linalg.svd(W, compute_uv=False).sum(), "loss": bits_ + given["alpha"] * probe.nuclear_norm,
    }  # fmt: skip
    same(own, case["expected"])
