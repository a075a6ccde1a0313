"""The running server: everything wired in one place, started and stopped in order."""
