"""Programs for developers of this project: teachers, data sets, figures and a local vendor."""
