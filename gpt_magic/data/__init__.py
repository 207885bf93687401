"""Anything to checked examples: sources, column roles, checks, splits."""
