"""The pages: Flask on waitress; knows only the backend's HTTP API."""
