"""The admin plane: one file per resource, each a table of routes and their handlers."""
