"""Many runs from one sweep file: which there are, running them, and what they found."""
