"""The output files of a run: student, model card, report and pictures."""
