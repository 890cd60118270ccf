"""The ledger's schema, one alembic revision a version."""
