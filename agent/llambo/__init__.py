"""LLAMBO: a language model warm-starts, predicts and proposes (Liu et al., arXiv:2402.03921)."""
