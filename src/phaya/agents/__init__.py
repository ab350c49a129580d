"""Phaya as tools for AI agents, by the Model Context Protocol (MCP).

Everything is drawn from the list of services that a Phaya answers, and every call is a request to its REST API: over
the network for `phaya mcp`, within the process for `/mcp`. There is no other way to money.
"""
