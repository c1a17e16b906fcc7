"""What benchmarks and tests share."""
