"""HTTP and the live feed: thin translators between the wire and the subjects."""
