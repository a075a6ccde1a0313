"""What is kept: the database, the journal, the artifact store. No protocol knowledge."""
