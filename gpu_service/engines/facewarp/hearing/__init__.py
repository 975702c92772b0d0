"""From speech to mouth shapes: by phoneme marks, or by ear."""
