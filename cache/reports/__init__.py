"""Reports on what was bought, for the terminal and for other programs."""
