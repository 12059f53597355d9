"""Sites, equipment, and the meaning of its fields."""
