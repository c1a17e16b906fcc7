"""The output of a run: the student, its model card, a report and a picture."""
