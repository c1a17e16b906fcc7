"""The student network: its backbone, its heads and its files."""
