"""A name, a folder or a pair to a model and a tokenizer; the models that ship with the package."""
