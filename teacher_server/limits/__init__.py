"""How much one API key, and all of them together, may use at once."""
