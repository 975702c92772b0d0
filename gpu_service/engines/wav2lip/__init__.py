"""Wav2Lip: a trained network redraws the lower half of the face to the speech."""
