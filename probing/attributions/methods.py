"""Every method of explanation by one name and one call.

    shapley, banzhaf, loo, add-one, lime             games: any encoder, any masking (`coalitions`)
    gradient, gradient-l1, gradient-sum,             gradients at the sentence: no masking (`gradients`)
    gradient-x-input, gradcam
    gradient-x-change, ig, deeplift                  gradients from a baseline: maskings that put a vector in a word's place
    random, frequency, length, position              read the text alone: what a method must beat

random: normal, drawn from the seed and the text · frequency: -log(1 + count) of a word in lower case, so that rare words are first
· length: letters of a word · position: the first word first.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from probing.attributions.attribution import Attribution
from probing.attributions.coalitions import MAX_WORDS, CoalitionTable, coalition_table, exact
from probing.attributions.deeplift import deeplift
from probing.attributions.gradients import gradcam, gradient, integrated
from probing.attributions.indices import GAMES
from probing.attributions.sampling import FROM_ENDS, sampled
from probing.attributions.word_function import NotApplicable, WordFunction, check_path
from probing.encoders.base import Encoder
from probing.encoders.gradients import check_gradients
from probing.encoders.hf.huggingface import HuggingFaceEncoder
from probing.errors import ConfigError, did_you_mean
from probing.interactions.options import Masking
from probing.interactions.text.game import TextGame
from probing.interactions.text.heads import LinearHead
from probing.interactions.text.masking import possible, published
from probing.types import Values

AT_SENTENCE = ("gradient", "gradient-l1", "gradient-sum", "gradient-x-input", "gradcam")
FROM_BASELINE = ("gradient-x-change", "ig", "deeplift")
OF_TEXT = ("random", "frequency", "length", "position")
METHODS = (*GAMES, *AT_SENTENCE, *FROM_BASELINE, *OF_TEXT)


@dataclass(frozen=True)
class Settings:
    """What some methods need.

    Args:
        layer: of Grad-CAM; None: the head's.
        budget: model rows of a game without a table (more than 12 words); None: 100 for each word.
        seed: of sampled games and of random scores.
        counts: of words in lower case, for frequency.
    """

    layer: int | None = None
    budget: int | None = None
    seed: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)


PLAIN = Settings()


def explain(
    encoder: Encoder,
    head: LinearHead,
    text: str,
    method: str,
    masking: Masking | str = "mask",
    target: str = "predicted",
    table: CoalitionTable | None = None,
    *,
    settings: Settings = PLAIN,
) -> Attribution:
    """Scores of the words of a text by a method.

    Args:
        target: predicted (for the whole text), a class, or two as a-b, whose logits are subtracted.
        table: of this text, head and masking, where there is one: games then cost nothing.

    Raises:
        ConfigError: a method, masking or target that is not there, an encoder without gradients for a method that needs them.
        NotApplicable: a baseline method with a masking that has no vector; DeepLIFT on a network that it does not cover.
    """
    masking = Masking.of(masking)
    check(encoder, method, masking.kind)
    if method in GAMES:
        if table is None and needs_table(text, [method]):
            table = coalition_table(encoder, head, text, masking)
        if table is not None:
            return exact(table, method, target)
        game = TextGame(encoder, text, "logit", masking, target="all", head=head)
        return sampled(game, method, target, settings.budget, settings.seed)
    if method in OF_TEXT:
        scores = _of_text(method, text.split(), settings)
        return Attribution(method, scores, None, target, float("nan"), float("nan"), False, 0)
    f = WordFunction(encoder, head, text, masking.kind if method in FROM_BASELINE else None, target)
    ways: dict[str, Callable[[WordFunction], Attribution]] = {
        "ig": integrated,
        "deeplift": deeplift,
        "gradcam": lambda f: gradcam(f, settings.layer),
    }
    return ways[method](f) if method in ways else gradient(f, method)


def needs_table(text: str, methods: Sequence[str]) -> bool:
    """Whether the table of all coalitions is made for these methods: short sentences, and not for `FROM_ENDS` alone."""
    return len(text.split()) <= MAX_WORDS and any(name in GAMES and name not in FROM_ENDS for name in methods)


def check(encoder: Encoder, method: str, masking: str, named: Sequence[str] = METHODS) -> None:
    """ConfigError, or NotApplicable, for a method that `explain` would refuse for this encoder and masking before it runs; the
    message names the methods of `named`."""
    if method not in METHODS:
        raise ConfigError(f"method={method!r} is unknown{did_you_mean(method, named)} (allowed: {', '.join(named)})")
    if method in (*AT_SENTENCE, *FROM_BASELINE):
        check_gradients(encoder)
    if method in FROM_BASELINE:
        check_path(encoder, masking)


def counted(texts: Iterable[str]) -> Counter[str]:
    """How often each word, in lower case, occurs: the counts of `Settings`."""
    return Counter(word.lower() for text in texts for word in text.split())


def default_masking(encoder: Encoder) -> str:
    """mask for masked language models, else attention where it is possible, else the published one."""
    allowed = possible(encoder)
    if isinstance(encoder, HuggingFaceEncoder) and "mask" in allowed:
        return "mask"
    return "attention" if "attention" in allowed else published(encoder)


def _of_text(method: str, words: list[str], settings: Settings) -> Values:
    match method:
        case "random":
            return np.random.default_rng([settings.seed, zlib.crc32(" ".join(words).encode())]).normal(size=len(words))
        case "frequency":
            if not settings.counts:
                raise NotApplicable("method=frequency needs counts of words, which a study has from its training sentences")
            return -np.log1p([float(settings.counts.get(word.lower(), 0)) for word in words])
        case "length":
            return np.array([float(len(word)) for word in words])
    return -np.arange(len(words), dtype=float)
