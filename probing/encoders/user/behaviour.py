"""Runs a user's encoder on a few fixed sentences, checks that its states do not depend on the batch, and hashes them.

The hash is of 4 digits, computed with one thread: it changes with the weights, and hardly ever with the last bits of a sum.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from probing.encoders.user.adapters import Adapter
from probing.errors import EncoderError

SENTENCES = (
    "The old man who lives next door said that he had never seen the sea , but that he would like to .",
    "Cats sat .",
    "Dogs ran .",
    "Pigs ate .",
    "It 's 7 o'clock and nobody has called",
    "colourless green ideas sleep furiously",
    "Zürich , Qwertyuiop & 3,141.59 -- naïve ?",
)
"""Every encoder is run on these when it is made."""

ALONE = 2
"""Index of the sentence that is also run alone; it has neighbours of its length, and sorting by length moves it."""

TOLERANCE = 0.02
"""Largest difference of equal vectors, as a share of the largest entry; half precision differs by less, mistakes by more."""


def run_fixed_sentences(adapter: Adapter) -> list[np.ndarray]:
    """States (tokens, d) of each sentence in each layer; raises EncoderError if one has other states alone than in a batch."""
    with _one_thread():
        alone = _states(adapter, [SENTENCES[ALONE]])
        together = _states(adapter, SENTENCES)
    if far(alone, together[ALONE * len(alone) : (ALONE + 1) * len(alone)]):
        raise EncoderError(
            f"{adapter.subject}: {SENTENCES[ALONE]!r} has other vectors alone than in a batch (padding that is not masked, "
            "training mode, another order, a prepare that counts?);\nmend it; encoder.batch_size=1 gives each sentence alone"
        )
    return together


def _states(adapter: Adapter, texts: Sequence[str]) -> list[np.ndarray]:
    states = adapter.forward(adapter.tokenize(list(texts))[0])
    return [layer[i][mask].float().cpu().numpy() for i, mask in enumerate(states.mask) for layer in states.layers]


def far(some: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> bool:
    """Whether two lists of arrays differ: in length, in a shape, or by more than `TOLERANCE`."""

    def differ(a: np.ndarray, b: np.ndarray) -> bool:
        return a.shape != b.shape or bool(np.abs(a - b).max(initial=0) > TOLERANCE * np.abs(b).max(initial=0))

    return len(some) != len(others) or any(differ(a, b) for a, b in zip(some, others, strict=True))


def digest(arrays: Sequence[np.ndarray]) -> str:
    """A hash of arrays, each rounded to 4 digits of its largest entry."""
    sha256 = hashlib.sha256()
    for array in arrays:
        scale = float(np.abs(array).max(initial=0)) or 1.0
        sha256.update(f"{array.shape} {scale:.3e}".encode())
        sha256.update((np.round(array / scale, 4) + 0.0).astype(np.float32).tobytes())  # + 0.0: no negative zero
    return sha256.hexdigest()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Runs the block with one thread, as the order of sums depends on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
