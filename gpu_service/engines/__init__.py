"""The engines: each turns a face and its speech into patches."""
