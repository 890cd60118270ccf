"""Improvement of prompts, search spaces and recipe code from the traces of their runs."""
