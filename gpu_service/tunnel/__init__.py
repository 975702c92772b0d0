"""Public addresses for a host that nobody can reach from outside."""
