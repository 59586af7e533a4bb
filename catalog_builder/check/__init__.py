"""A finished release against what it promises; ``check.release`` is where to begin."""
