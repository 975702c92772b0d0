"""What moves beside the mouth: head, lids, brows and breath."""
