"""Tokens to trained weights. Knows nothing of notebooks: plain values in, events out."""
