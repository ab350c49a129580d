"""Decoding of files that others made, in processes that can do nothing else.

The server asks a `Decoder`, which keeps children (`child.py`) behind the walls of `cage.py`: one sort loads Pillow, the
other PyAV. The server itself loads neither, and reads no more of a file than its first bytes.
"""
