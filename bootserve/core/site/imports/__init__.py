"""Nodes from what people have: each module reads one format and says what it cannot carry over."""
