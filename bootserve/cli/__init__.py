"""The commands: clients of the admin API, and the server's own start."""
