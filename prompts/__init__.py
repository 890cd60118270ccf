"""Templates of what is said to an LLM: one Markdown file a prompt, filled in by `loading`."""
