"""What a person sees of a run while it goes on: observers that turn events into a live table, plain lines or JSON lines."""
