"""What every doctor shares: its findings, and what any service needs of its machine."""
