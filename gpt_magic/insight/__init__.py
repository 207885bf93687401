"""What a model has learned, and from where."""
