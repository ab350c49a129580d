"""The doors: HTTP routes for programs and people."""
