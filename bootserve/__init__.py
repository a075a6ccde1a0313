"""bootserve: boots every node from its pinned, immutable image generation."""

__version__ = "0.1.0"
