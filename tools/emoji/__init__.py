"""The embedded emoji teacher, and pictures for the documents."""
