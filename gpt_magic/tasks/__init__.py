"""One file a task: head, encoding, which positions are scored, loss, metrics, decoding."""
