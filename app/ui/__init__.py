"""The web UI: it reads the ledger and leaves wishes in it; nothing runs inside it."""
