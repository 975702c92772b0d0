"""Uploads on their way in, and the finished video on its way out."""
