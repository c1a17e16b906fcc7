"""Who sees a page and whose forms are read."""
