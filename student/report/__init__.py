"""What a job leaves behind: the student, its card, a report and a picture."""
