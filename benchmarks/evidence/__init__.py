"""The emoji and digits protocols as grids, and the page that is written from their rows."""
