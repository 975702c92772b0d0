"""The notebooks and what their cells call; standard library only, for Colab's own Python."""
