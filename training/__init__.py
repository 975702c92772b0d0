"""What makes the weights that the services ship; no service imports it."""
