"""asyncio shells around the wire and core layers: they move bytes and decide nothing."""
