"""Trains the network by which facewarp's mouth follows a speech that comes without phonemes."""
