"""The emoji demo: its teacher, its settings, and the run that shows it all."""
