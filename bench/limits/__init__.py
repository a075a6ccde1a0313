"""The least that a Python server can do: only the system calls, no decision, nothing kept.

What these reach on a line is the limit of a server in pure Python with one thread there.
"""
