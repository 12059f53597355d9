"""Sites, equipment and what its fields mean."""
