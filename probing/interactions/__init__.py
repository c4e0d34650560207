"""Interactions between neighbouring players of a game: exact where it is affordable, sampled with standard errors where not.

>>> from probing.interactions import TableGame, segment_interaction
"""

from probing.interactions.game import CachedGame, Game, TableGame, table
from probing.interactions.options import Estimator, Masking
from probing.interactions.segment import SegmentInteraction, segment_interaction, segment_interactions

__all__ = [
    "CachedGame",
    "Estimator",
    "Game",
    "Masking",
    "SegmentInteraction",
    "TableGame",
    "segment_interaction",
    "segment_interactions",
    "table",
]
