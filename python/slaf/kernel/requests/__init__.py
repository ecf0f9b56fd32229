"""The threads that take requests from front ends, and what they answer."""
