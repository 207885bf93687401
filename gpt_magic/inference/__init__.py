"""Weights to predictions."""
