"""Frozen types: the words of the design, one module a word. No I/O."""
