"""Templates of what is said to an LLM."""
