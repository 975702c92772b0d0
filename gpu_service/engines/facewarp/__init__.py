"""The built-in engine: a portrait speaks by warping, with no downloaded weights."""
