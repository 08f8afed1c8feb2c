"""Backbones whose labels cannot be traced, and why. Names are of their classes."""

_POOLED = (
    'its attention pools queries too, so a token has no share of its own that a '
    'residual could keep;'
)

REASONS: dict[str, str] = {}
