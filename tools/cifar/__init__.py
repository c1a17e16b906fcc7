"""CIFAR-10 with the recorded answers of OpenAI's CLIP, from files that the user has."""
