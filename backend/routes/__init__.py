"""The HTTP doors: each converts a request, and none renders, stages or retries by itself."""
