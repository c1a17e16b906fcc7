"""The vendor under generated requests and hostile image files."""
