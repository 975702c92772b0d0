"""Jobs: what is to be made, where it stands, and the threads that make it."""
