"""Where the faces are in a picture, and where their features are."""
