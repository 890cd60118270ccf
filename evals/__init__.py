"""What measures the floors below."""
