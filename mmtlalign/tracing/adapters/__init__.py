"""What is peculiar to the backbones of each host; imported when one is met."""
