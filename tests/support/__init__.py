"""Shared by the tests: small states to resolve, and a real server to talk to."""
