"""Bytes to pictures and sound, and back."""
