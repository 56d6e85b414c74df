"""The report of a job: one HTML page that needs nothing but itself."""
