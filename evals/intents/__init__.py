"""How well requests in plain words are understood: requests, what is right, and the score."""
