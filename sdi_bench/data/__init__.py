"""What ships with the package: digits, the built-in world, weights of metric networks."""
