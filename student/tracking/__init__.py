"""Metrics of a training, beside what it cost, for TensorBoard, MLflow and Weights & Biases."""
