"""Music and sounds. `score` is run as a child process; the server imports nothing from here."""
