"""The emoji demo data: ten styles of the same concepts, drawn from files that pip installs."""
