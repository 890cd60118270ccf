"""Built-in training code on torch."""
