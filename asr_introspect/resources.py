"""What comes with the package: the reference recogniser, its phoneme twin and the demo corpus."""

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

    A clone has further checkpoints in ``data/models``, by the names of their files; wheels do not hold them.

    Raises
    ------
    UsageError
        Nothing of that name is bundled.
    IntrospectError
        This installation lacks it.
    """
    package = Path(__file__).resolve().parent
    # Inside the package in a wheel, beside it in a checkout.
    places = (package / "data", package.parent / "data")
    extra = {
        path.stem: f"models/{path.name}" for data in places for path in data.glob("models/*.safetensors")
    }
    known = _BUNDLED | extra
    if name not in known:
        raise unknown_name("bundled item", name, known)
    for data in places:
        place = data / known[name]
        if place.exists():
            return place
    raise IntrospectError(f"this installation lacks {known[name]}; install asr-introspect again")


def checkpoint_or_reference(checkpoint: Path | str | None) -> Path:
    """The checkpoint that was named, or the bundled reference, which is then said."""
    if checkpoint is not None:
        return Path(checkpoint)
    reference = bundled("reference")
    say(f"recogniser: the bundled reference checkpoint ({reference})")
    return reference
