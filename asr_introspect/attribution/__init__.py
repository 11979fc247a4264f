"""The attribution engine: the relevance of every letter of a sentence from one walk through its cones."""

from asr_introspect.attribution.attribute import attribute, attribute_chunks
from asr_introspect.attribution.geometry import Cone, receptive_field
from asr_introspect.attribution.relevance import Coverage, Ledger, Relevance

__all__ = ["Cone", "Coverage", "Ledger", "Relevance", "attribute", "attribute_chunks", "receptive_field"]
