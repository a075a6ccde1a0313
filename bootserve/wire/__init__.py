"""Sans-IO codecs and state machines: no sockets, no asyncio, no policy; ``now`` is a parameter."""
