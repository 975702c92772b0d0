"""The GPU host: face and speech in, a video of that face saying it out."""
