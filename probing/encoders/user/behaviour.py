"""How an encoder behaves on a few fixed sentences: its states of them, whether these depend on the company, and a hash of them.

The hash is of 4 digits, computed with one thread: it tells other weights, and does not see the last bits of a sum, or hardly ever.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

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
"""Go through every encoder when it is made."""

ALONE = 2
"""Which of them goes alone, too: in company it has others of its length before and behind it, and no sorting leaves it there."""

TOLERANCE = 0.02
"""Of a vector's largest entry: what vectors of one sentence may differ by; half precision differs by less, a mistake by more."""


def probe(adapter: Adapter) -> list[np.ndarray]:
    """States (tokens, d) of each fixed sentence in each layer, sentence by sentence; one alone must have what it has in company."""
    with _one_thread():
        alone = _states(adapter, [SENTENCES[ALONE]])
        together = _states(adapter, SENTENCES)
    if far(alone, together[ALONE * len(alone) : (ALONE + 1) * len(alone)]):
        raise EncoderError(
            f"{adapter.said}: {SENTENCES[ALONE]!r} has other vectors alone than in a batch (padding that is not masked, training "
            "mode, another order, a prepare that counts?);\nmend it; encoder.batch_size=1 gives each sentence alone"
        )
    return together


def _states(adapter: Adapter, texts: Sequence[str]) -> list[np.ndarray]:
    states = adapter.forward(adapter.tokenize(list(texts))[0])
    return [layer[i][mask].float().cpu().numpy() for i, mask in enumerate(states.mask) for layer in states.layers]


def far(some: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> bool:
    """Whether arrays that should be alike are not: other shapes, or entries further apart than `TOLERANCE`."""

    def apart(a: np.ndarray, b: np.ndarray) -> bool:
        return a.shape != b.shape or bool(np.abs(a - b).max(initial=0) > TOLERANCE * np.abs(b).max(initial=0))

    return len(some) != len(others) or any(apart(a, b) for a, b in zip(some, others, strict=True))


def digest(probed: Sequence[np.ndarray]) -> str:
    """A hash of arrays to 4 digits of their largest entry, so that the last bits of a sum do not matter, or hardly ever."""
    found = hashlib.sha256()
    for array in probed:
        scale = float(np.abs(array).max(initial=0)) or 1.0
        found.update(f"{array.shape} {scale:.3e}".encode())
        found.update((np.round(array / scale, 4) + 0.0).astype(np.float32).tobytes())  # + 0.0: no negative zero
    return found.hexdigest()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums are taken in an order that depends on the number of threads: with one, they are the same each time."""
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
