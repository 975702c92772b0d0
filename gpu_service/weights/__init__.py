"""The published weights, and those that are on this host."""
