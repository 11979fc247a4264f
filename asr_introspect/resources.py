"""What comes with the package: the reference recogniser and the demo corpus."""

from __future__ import annotations

from pathlib import Path

from asr_introspect.errors import IntrospectError, unknown_name
from asr_introspect.progress import say

_BUNDLED = {
    "reference": "models/reference.safetensors",
    "phonemes": "models/phonemes.safetensors",
    "demo": "demo",
}


def bundled(name: str) -> Path:
    """Where something bundled lies: ``reference`` or ``phonemes`` (checkpoints), ``demo`` (a corpus).

    Raises
    ------
    UsageError
        Nothing of that name is bundled.
    IntrospectError
        This installation lacks it.
    """
    if name not in _BUNDLED:
        raise unknown_name("bundled item", name, _BUNDLED)
    package = Path(__file__).resolve().parent
    # Inside the package in a wheel, beside it in a checkout.
    for data in (package / "data", package.parent / "data"):
        place = data / _BUNDLED[name]
        if place.exists():
            return place
    raise IntrospectError(f"this installation lacks {_BUNDLED[name]}; install asr-introspect again")


def checkpoint_or_reference(checkpoint: Path | str | None) -> Path:
    """The checkpoint that was named, or the bundled reference, which is then said."""
    if checkpoint is not None:
        return Path(checkpoint)
    reference = bundled("reference")
    say(f"recogniser: the bundled reference checkpoint ({reference})")
    return reference
