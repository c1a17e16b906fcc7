"""What more queries would add."""
