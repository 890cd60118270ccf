"""Simulated language models of known quality, behind a real HTTP endpoint."""
