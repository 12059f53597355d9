"""HTTP and the live feed: a thin layer between the wire and the domain packages."""
