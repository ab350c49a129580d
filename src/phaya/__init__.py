"""Phaya: AI media generation and chat behind one key, one prepaid balance and one plain REST API."""

__version__ = "0.1.0"
