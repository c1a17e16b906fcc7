"""What a purchase costs a client at a million images and more, from what it costs at thousands."""
