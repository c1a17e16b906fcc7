"""Programs that make what the project ships: teachers, demo data, figures for the documents."""
