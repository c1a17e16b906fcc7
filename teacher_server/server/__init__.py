"""Running the vendor as a process that listens."""
