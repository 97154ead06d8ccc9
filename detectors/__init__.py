"""What pixels say, and the judgement that turns all evidence into one status."""
