"""The boot plane's HTTP server: scripts, artifacts, NBPs, seeds and reports."""
