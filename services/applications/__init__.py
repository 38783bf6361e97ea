"""Draft, submitted, decided: casework and deadlines."""
