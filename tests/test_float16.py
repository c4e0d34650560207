"""float16 with offset and scale: constants come back exactly, hard columns stay precise, the error said is the error made."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from probing.store.segments import decode, encode


def back(x):
    made = encode(x)
    return decode(made.code, made.offset, made.scale), made


@given(arrays(np.float32, st.tuples(st.integers(1, 30), st.integers(1, 5)), elements=st.floats(-(2.0**100), 2.0**100, width=32)))
def test_whatever_comes_in_the_error_said_is_the_error_made(x):
    with np.errstate(over="ignore", invalid="ignore"):
        decoded, made = back(x)
    exact = x.astype(np.float64)
    wrong, spread = np.sqrt(((decoded - exact) ** 2).mean(0)), exact.std(0)
    constant = (x == x[0]).all(0)
    np.testing.assert_array_equal(decoded[:, constant], x[:, constant])
    if not constant.all():
        assert made.rms == pytest.approx(np.max(wrong[~constant] / spread[~constant]), rel=1e-6)
    assert made.rms <= made.largest * (1 + 1e-9) and not np.isnan(made.rms)


@pytest.mark.parametrize("mean", [0, 1, 1e3, 1e5])
def test_a_small_spread_around_a_large_mean_is_kept_where_plain_float16_loses_it(mean):
    x = (mean + np.random.default_rng(0).normal(size=(2000, 8))).astype(np.float32)
    decoded, made = back(x)
    spread = x.std(0, dtype=np.float64)
    assert (np.sqrt(((decoded - x.astype(np.float64)) ** 2).mean(0)) < 1e-3 * spread).all() and made.rms < 1e-3
    if mean == 1e3:
        plain = x.astype(np.float16).astype(np.float64)
        assert (np.sqrt(((plain - x) ** 2).mean(0)) > 0.1 * spread).all(), "the positive control"


def test_one_outlier_among_a_million_rows_does_not_overflow():
    x = np.zeros((1_000_000, 1), np.float32)
    x[7] = 3e4
    decoded, made = back(x)
    np.testing.assert_allclose(decoded, x, rtol=1e-3, atol=1e-4)
    assert made.rms < 1e-3


def test_a_feature_below_the_range_of_float32_is_an_infinite_or_large_error_never_nan():
    _, made = back(np.array([[1e-45], [0], [3e-45], [0]], np.float32))
    assert made.rms == 0 or made.rms > 0.01
