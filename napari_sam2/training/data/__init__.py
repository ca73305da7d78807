"""What a network is trained on."""
