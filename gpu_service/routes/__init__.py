"""The GPU host's HTTP: thin routes that own threads and cancellation."""
