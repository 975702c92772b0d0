"""What a mouth is drawn from: movements, lips, teeth and the inside."""
