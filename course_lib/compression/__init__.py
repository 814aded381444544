"""Making a trained model smaller and faster, and saying what that costs."""
