"""What engines hear in the speech: articulations of phonemes, levels and formants of sound."""
