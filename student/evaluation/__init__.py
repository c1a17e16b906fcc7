"""Training and scoring the methods of a job, and predicting with a student."""
