"""How a picture is moved: smooth fields, their inverse, and reading between pixels."""
