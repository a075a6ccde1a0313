"""Reboots: how a node is told to, what is run around it, and how that survives a restart."""
