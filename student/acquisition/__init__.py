"""Which images to buy first: orders that are nested, by the student's own free features."""
