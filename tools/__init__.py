"""What acts and observes: spaces, specs, executors, the ledger. Knows nothing of LLMs."""
